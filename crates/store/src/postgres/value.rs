//! What is between the model and columns: payload bytes, tags, times and counts.
//!
//! This is the one place where contents become column bytes and back, so sealing is here and nowhere
//! else. What is sealed: states, snapshots, events, answers, effects, timers and replicas. What is
//! not, because SQL must find it: ids, names of types and methods, tags, and times.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use bytestring::ByteString;
use firn_model::id::EntityKey;
use firn_model::payload::Payload;
use prost::Message;

use super::names;
use crate::ReadError;
use crate::entity::Timestamp;
use crate::seal::{Keys, key_id};

/// Turns contents into column bytes and back.
#[derive(Debug, Clone, Default)]
pub(super) struct Values {
    keys: Option<Arc<Keys>>,
    /// Whether some columns may not be sealed although there are keys.
    takes_plain: bool,
}

/// What bytes are bound to when they are sealed, so that rows cannot be swapped.
#[derive(Debug, Clone, Copy)]
pub(super) enum Place<'a> {
    State(&'a EntityKey),
    Snapshot(&'a EntityKey),
    Event(&'a EntityKey, u64),
    Reply(&'a EntityKey, &'a [u8]),
    Effect(firn_model::id::EffectId),
    Timer(&'a EntityKey, &'a str),
    Replica(firn_model::id::NodeId, &'a EntityKey),
}

impl Place<'_> {
    /// Part of the stored format: what it was sealed under must be known for ever.
    fn bytes(&self) -> Vec<u8> {
        let of = |kind: &str, key: &EntityKey, rest: &[u8]| {
            let mut bytes = Vec::new();
            for part in [
                kind.as_bytes(),
                key.storage.as_str().as_bytes(),
                key.id.as_bytes(),
            ] {
                bytes.extend_from_slice(&(part.len() as u64).to_be_bytes());
                bytes.extend_from_slice(part);
            }
            bytes.extend_from_slice(rest);
            bytes
        };
        match self {
            Self::State(key) => of("state", key, &[]),
            Self::Snapshot(key) => of("snapshot", key, &[]),
            Self::Event(key, number) => of("event", key, &number.to_be_bytes()),
            Self::Reply(key, command) => of("reply", key, command),
            Self::Effect(effect) => format!("effect {effect}").into_bytes(),
            Self::Timer(key, name) => of("timer", key, name.as_bytes()),
            Self::Replica(node, key) => of("replica", key, &node.0.to_be_bytes()),
        }
    }
}

impl Values {
    pub(super) fn sealed_with(keys: Option<Arc<Keys>>) -> Self {
        Self {
            keys,
            takes_plain: false,
        }
    }

    /// For a database on the way from plain to sealed: what no key has sealed is plain.
    pub(super) fn beginning(keys: Arc<Keys>) -> Self {
        Self {
            keys: Some(keys),
            takes_plain: true,
        }
    }

    /// What they are sealed with, if they are.
    pub(super) fn keys(&self) -> Option<&Keys> {
        self.keys.as_deref()
    }

    /// What a column holds of these bytes.
    pub(super) fn column<'a>(&self, place: Place<'_>, bytes: &'a [u8]) -> Cow<'a, [u8]> {
        match &self.keys {
            None => Cow::Borrowed(bytes),
            Some(keys) => Cow::Owned(keys.seal(&place.bytes(), bytes).to_vec()),
        }
    }

    /// The same for bytes that nobody else needs.
    pub(super) fn owned(&self, place: Place<'_>, bytes: Vec<u8>) -> Cow<'static, [u8]> {
        match &self.keys {
            None => Cow::Owned(bytes),
            Some(keys) => Cow::Owned(keys.seal(&place.bytes(), &bytes).to_vec()),
        }
    }

    /// The bytes that a column holds.
    pub(super) fn bytes(&self, place: Place<'_>, column: &[u8]) -> Result<Bytes, ReadError> {
        match &self.keys {
            None => Ok(Bytes::copy_from_slice(column)),
            Some(keys) => keys
                .open(&place.bytes(), column)
                .map_err(|error| damaged(place, &error)),
        }
    }

    /// What a column holds when it is sealed with the first key; `None` if it is already.
    pub(super) fn resealed(
        &self,
        place: Place<'_>,
        column: &[u8],
    ) -> Result<Option<Vec<u8>>, ReadError> {
        let Some(keys) = &self.keys else {
            return Ok(None);
        };
        // Plain bytes may look like sealed ones, but not name a key of ours by chance.
        let by = key_id(column).filter(|by| keys.ids().any(|id| id == *by));
        let plain = match by.is_none() && self.takes_plain {
            true => Bytes::copy_from_slice(column),
            false => self.bytes(place, column)?,
        };
        match by == Some(keys.id()) {
            true => Ok(None),
            false => Ok(Some(keys.seal(&place.bytes(), &plain).to_vec())),
        }
    }

    /// A payload from its columns.
    pub(super) fn payload(
        &self,
        place: Place<'_>,
        type_url: &str,
        column: &[u8],
    ) -> Result<Payload, ReadError> {
        let type_url = names::original(type_url).ok_or_else(|| damaged(place, &"its type"))?;
        Ok(Payload {
            type_url: ByteString::from(type_url),
            bytes: self.bytes(place, column)?,
        })
    }

    /// A message that a column holds, as what it stands for.
    pub(super) fn message<M, T>(&self, place: Place<'_>, column: &[u8]) -> Result<T, ReadError>
    where
        M: Message + Default,
        T: TryFrom<M, Error: std::fmt::Display>,
    {
        let bytes = self.bytes(place, column)?;
        let message = M::decode(bytes).map_err(|error| damaged(place, &error))?;
        T::try_from(message).map_err(|fault| damaged(place, &fault))
    }
}

/// Damage in what is stored at a place.
pub(super) fn damaged(place: Place<'_>, fault: &impl ToString) -> ReadError {
    ReadError::Damaged {
        place: format!("{place:?}"),
        fault: fault.to_string(),
    }
}

/// A time as columns hold it: milliseconds since 1970; the last that a column can hold is never.
pub(super) fn time(time: Timestamp) -> i64 {
    count(time.0)
}

/// The time that a column holds.
pub(super) fn timestamp(column: i64) -> Timestamp {
    match column {
        i64::MAX => Timestamp(u64::MAX),
        column => Timestamp(number(column)),
    }
}

/// A count as columns hold it.
pub(super) fn count(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// The count that a column holds; none is ever negative.
pub(super) fn number(column: i64) -> u64 {
    u64::try_from(column).unwrap_or_default()
}

/// Tags as a JSON object, so that SQL can ask for them; `None` if there are none.
pub(super) fn tags(tags: &BTreeMap<String, String>) -> Option<String> {
    (!tags.is_empty()).then(|| serde_json::to_string(tags).expect("texts are JSON"))
}

/// The tags that a column holds.
pub(super) fn tags_of(column: Option<&str>) -> Option<BTreeMap<String, String>> {
    column.map_or_else(
        || Some(BTreeMap::new()),
        |text| serde_json::from_str(text).ok(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use firn_model::id::StorageName;

    #[test]
    fn what_is_sealed_opens_at_its_place_only() {
        let keys = Keys::parse("one:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=");
        let sealed = Values::sealed_with(Some(Arc::new(keys.unwrap())));
        let key = |id: &str| EntityKey::new(StorageName::new("s"), id);
        let (a, b) = (key("a"), key("b"));
        let column = sealed.column(Place::Event(&a, 1), b"plain");
        assert_ne!(&*column, b"plain");
        assert_eq!(
            sealed.bytes(Place::Event(&a, 1), &column),
            Ok(Bytes::from("plain"))
        );
        for place in [Place::Event(&a, 2), Place::Event(&b, 1), Place::State(&a)] {
            let refused = sealed.bytes(place, &column);
            assert!(matches!(refused, Err(ReadError::Damaged { .. })));
        }
        let open = Values::default();
        assert_eq!(&*open.column(Place::State(&a), b"plain"), b"plain");
    }

    #[test]
    fn columns_are_sealed_anew_once() {
        const ONE: &str = "one:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=";
        const TWO: &str = "two:AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE=";
        let keys = |text: &str| Arc::new(Keys::parse(text).unwrap());
        let key = EntityKey::new(StorageName::new("s"), "a");
        let place = Place::State(&key);
        let old = Values::sealed_with(Some(keys(ONE)))
            .column(place, b"plain")
            .to_vec();
        let both = keys(&format!("{TWO},{ONE}"));
        let new = Values::sealed_with(Some(both.clone()));
        let sealed = new.resealed(place, &old).unwrap().unwrap();
        assert_eq!(key_id(&sealed), Some("two"));
        assert_eq!(new.bytes(place, &sealed), Ok(Bytes::from("plain")));
        assert_eq!(new.resealed(place, &sealed), Ok(None));
        // Plain bytes, also such as look sealed, are taken only where some may be plain.
        let foreign = Keys::parse(&TWO.replacen("two", "three", 1)).unwrap();
        let foreign = foreign.seal(b"elsewhere", b"plain");
        let beginning = Values::beginning(both);
        for plain in [&b"plain"[..], b"", &foreign] {
            assert!(new.resealed(place, plain).is_err());
            let sealed = beginning.resealed(place, plain).unwrap().unwrap();
            assert_eq!(&new.bytes(place, &sealed).unwrap()[..], plain);
            assert_eq!(beginning.resealed(place, &sealed), Ok(None));
        }
        // Damage stays damage.
        let mut damaged = sealed;
        *damaged.last_mut().unwrap() ^= 1;
        assert!(new.resealed(place, &damaged).is_err());
        assert!(beginning.resealed(place, &damaged).is_err());
    }

    #[test]
    fn times_and_tags_come_back() {
        for millis in [0, 1, u64::MAX] {
            assert_eq!(timestamp(time(Timestamp(millis))), Timestamp(millis));
        }
        let some: BTreeMap<_, _> = [("a\0".to_owned(), "\"".to_owned())].into();
        assert_eq!(tags_of(tags(&some).as_deref()), Some(some));
        assert_eq!(tags(&BTreeMap::new()), None);
        assert_eq!(tags_of(None), Some(BTreeMap::new()));
        assert_eq!(tags_of(Some("no")), None);
    }
}
