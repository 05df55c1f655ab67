//! Names as text columns hold them: ids, storage names, names of timers and nodes.
//!
//! PostgreSQL's text cannot hold U+0000, and an index cannot hold what is long. So U+0000 is written
//! as U+0001 U+0001 and U+0001 as U+0001 U+0002; a name that is still too long keeps its beginning,
//! then U+0001 U+0003 and the SHA-256 of the whole in hex. All others, which is to say practically
//! every name there is, stand as they are.
//!
//! # Invariants
//! - Two names never have the same form. Part of the stored format.
//! - Names that are not shortened keep their byte order.

use std::fmt::Write;

use bytes::Bytes;
use firn_model::id::{EffectId, EntityKey, Slot, SlotSequence, StorageName};
use prost::Message;
use ring::digest::{SHA256, digest};

use crate::encoding::parts::{KeyPart, TimerNamePart};
use crate::rows::value::TimerIdRow;
use crate::timer::{TimerId, TimerName};

/// Longest form of a storage name, in bytes.
const STORAGE_BYTES_MAX: usize = 400;

/// Longest form of an id, in bytes.
const ID_BYTES_MAX: usize = 1200;

/// Longest form of a timer's name, in bytes.
const TIMER_BYTES_MAX: usize = 800;

/// What an entry of an index may hold, in bytes: a third of a page of 8 KB, less what the tree needs.
const INDEX_ENTRY_BYTES_MAX: usize = 2_650;

const _: () =
    assert!(STORAGE_BYTES_MAX + ID_BYTES_MAX + TIMER_BYTES_MAX + 64 < INDEX_ENTRY_BYTES_MAX);

/// What stands for U+0000.
const ZERO: &str = "\u{1}\u{1}";
/// What stands for U+0001.
const ONE: &str = "\u{1}\u{2}";
/// What stands before the hash of a name that was shortened.
const SHORTENED: &str = "\u{1}\u{3}";

/// An entity's two names as columns hold them, and what they stand for if that cannot be told.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct EntityName {
    pub(super) storage: String,
    pub(super) id: String,
}

impl From<&EntityKey> for EntityName {
    fn from(key: &EntityKey) -> Self {
        Self {
            storage: storage(&key.storage),
            id: id(&key.id),
        }
    }
}

/// The form of a storage name.
pub(super) fn storage(name: &StorageName) -> String {
    form(name.as_str(), STORAGE_BYTES_MAX)
}

/// The form of an entity's id, or of a node's name.
pub(super) fn id(id: &str) -> String {
    form(id, ID_BYTES_MAX)
}

/// The form of a text that is in no index.
pub(super) fn text(text: &str) -> String {
    form(text, usize::MAX)
}

/// The text that has this form; `None` if it was shortened.
pub(super) fn original(form: &str) -> Option<String> {
    if !form.contains('\u{1}') {
        return Some(form.to_owned());
    }
    let mut text = String::with_capacity(form.len());
    let mut rest = form.chars();
    while let Some(char) = rest.next() {
        text.push(match char {
            '\u{1}' => match rest.next()? {
                '\u{1}' => '\0',
                '\u{2}' => '\u{1}',
                _ => return None,
            },
            char => char,
        });
    }
    Some(text)
}

/// The whole key, where its form does not tell it.
pub(super) fn full_key(key: &EntityKey, name: &EntityName) -> Option<Vec<u8>> {
    let is_short = name.storage.contains(SHORTENED) || name.id.contains(SHORTENED);
    is_short.then(|| KeyPart::from(key).encode_to_vec())
}

/// The key with this form, or the whole one that was kept beside it.
pub(super) fn key(storage: &str, id: &str, full: Option<&[u8]>) -> Option<EntityKey> {
    if let Some(full) = full {
        return KeyPart::decode(full).ok().map(EntityKey::from);
    }
    let storage = StorageName::new(original(storage)?);
    Some(EntityKey::new(storage, original(id)?))
}

/// The form of a timer's name: the function's own after `=`, a delayed effect's identity after `+`.
pub(super) fn timer(name: &TimerName) -> String {
    match name {
        TimerName::Own(name) => format!("={}", form(name, TIMER_BYTES_MAX)),
        TimerName::Delayed(effect) => format!("+{effect}"),
    }
}

/// The whole identity of a timer, where its form does not tell it.
pub(super) fn full_timer(id: &TimerId, name: &EntityName, timer: &str) -> Option<Vec<u8>> {
    let parts = [&name.storage, &name.id, timer];
    let is_short = parts.iter().any(|part| part.contains(SHORTENED));
    is_short.then(|| TimerIdRow::from(id).encode_to_vec())
}

/// The timer with this form, or the whole identity that was kept beside it.
pub(super) fn timer_id(
    storage: &str,
    id: &str,
    timer: &str,
    full: Option<&[u8]>,
) -> Option<TimerId> {
    if let Some(full) = full {
        let row = TimerIdRow::decode(full).ok()?;
        let name: Option<TimerNamePart> = row.name;
        return Some(TimerId {
            key: row.key?.into(),
            name: name?.try_into().ok()?,
        });
    }
    let name = match timer.split_at_checked(1)? {
        ("=", name) => TimerName::Own(original(name)?.into()),
        ("+", effect) => TimerName::Delayed(effect_id(effect)?),
        _ => return None,
    };
    let key = key(storage, id, None)?;
    Some(TimerId { key, name })
}

fn effect_id(text: &str) -> Option<EffectId> {
    let mut parts = text.split('/');
    Some(EffectId {
        slot: Slot::new(parts.next()?.parse().ok()?)?,
        sequence: SlotSequence(parts.next()?.parse().ok()?),
        index: parts.next()?.parse().ok()?,
    })
}

/// What a reply record is found by: the method and the caller's key.
pub(super) fn command(method: &str, idempotency_key: &str) -> Bytes {
    let mut both = (method.len() as u64).to_be_bytes().to_vec();
    both.extend_from_slice(method.as_bytes());
    both.extend_from_slice(idempotency_key.as_bytes());
    Bytes::copy_from_slice(digest(&SHA256, &both).as_ref())
}

fn form(text: &str, max: usize) -> String {
    let form = match text.contains(['\0', '\u{1}']) {
        true => text.replace('\u{1}', ONE).replace('\0', ZERO),
        false => text.to_owned(),
    };
    if form.len() <= max {
        return form;
    }
    let hash = digest(&SHA256, text.as_bytes());
    let hash = hash.as_ref();
    let keep = max - SHORTENED.len() - 2 * hash.len();
    let keep = (0..=keep)
        .rev()
        .find(|end| form.is_char_boundary(*end) && !form[..*end].ends_with('\u{1}'))
        .unwrap_or(0);
    let mut short = form[..keep].to_owned();
    short.push_str(SHORTENED);
    for byte in hash {
        let _ = write!(short, "{byte:02x}");
    }
    short
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Part of the stored format; these may never change.
    #[test]
    fn forms_are_fixed() {
        let check = |text: &str, expected: &str| {
            assert_eq!(id(text), expected);
            assert_eq!(original(expected).as_deref(), Some(text));
        };
        check("", "");
        check("user-1 ÿ 日本語", "user-1 ÿ 日本語");
        check("a\0b", "a\u{1}\u{1}b");
        check("a\u{1}b", "a\u{1}\u{2}b");
        check("\u{1}\0", "\u{1}\u{2}\u{1}\u{1}");
        let long = "é".repeat(1000);
        let short = id(&long);
        assert!(short.len() <= ID_BYTES_MAX && short.starts_with("ééé"));
        assert!(short.ends_with(
            "\u{1}\u{3}75628d88c411e2c7a3e1cbb3f0eb5498e51455875142fedd62677987cdecf107"
        ));
        assert_eq!(original(&short), None);
    }

    #[test]
    fn names_keep_apart_and_in_order() {
        let mut names = vec![
            "", "\0", "\0\0", "\0\u{1}", "\u{1}", "\u{1}\0", "\u{2}", "a", "a\0", "a\u{1}",
            "a\u{2}", "ab",
        ];
        names.sort_unstable();
        let forms: Vec<String> = names.iter().map(|name| id(name)).collect();
        assert!(forms.is_sorted_by(|left, right| left < right), "{forms:?}");
        let long = "\0".repeat(5000);
        let forms = [id(&long), id(&format!("{long}x")), id(&long[1..])];
        assert!(forms[0] != forms[1] && forms[1] != forms[2] && forms[0] != forms[2]);
        assert!(forms.iter().all(|form| form.len() <= ID_BYTES_MAX));
    }

    #[test]
    fn timers_are_told_by_their_forms() {
        let effect = EffectId {
            slot: Slot::new(7).unwrap(),
            sequence: SlotSequence(8),
            index: 9,
        };
        let key = EntityKey::new(StorageName::new("cart"), "a\0");
        for name in [
            TimerName::Delayed(effect),
            TimerName::Own("+7/8/9".into()),
            TimerName::Own("".into()),
            TimerName::Own("x".repeat(2000).into()),
        ] {
            let id = TimerId {
                key: key.clone(),
                name,
            };
            let entity = EntityName::from(&id.key);
            let form = timer(&id.name);
            let full = full_timer(&id, &entity, &form);
            let told = timer_id(&entity.storage, &entity.id, &form, full.as_deref());
            assert_eq!(told, Some(id));
        }
    }
}
