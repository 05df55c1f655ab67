use proptest::collection::vec;
use proptest::prelude::*;

use super::*;

const A: &str = "a:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=";
const B: &str = "b:AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE";
/// Under the id of the first, another key.
const OTHER_A: &str = "a:AgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgI=";

fn keys(texts: &[&str]) -> Keys {
    Keys::parse(&texts.join(",")).unwrap()
}

#[test]
fn keys_are_read_from_lists_and_files() {
    let file = format!("# newest first\n\n {A} \n{B}\n");
    for text in [format!("{A},{B}"), file] {
        let keys = Keys::parse(&text).unwrap();
        assert_eq!(keys.ids().collect::<Vec<_>>(), ["a", "b"]);
        assert_eq!(keys.id(), "a");
        assert_eq!(format!("{keys:?}"), r#"["a", "b"]"#, "no key is shown");
    }
}

#[test]
fn bad_keys_are_refused_and_not_shown() {
    let check = |text: &str, expected: &str| {
        let error = Keys::parse(text).unwrap_err().to_string();
        assert_eq!(error, expected);
    };
    check("", "there is no key in it");
    check("# a:b\n", "there is no key in it");
    check("secret", "key 1 is not of the form ID:BASE64");
    check(&format!("{A},b:secretAA"), "key 2 does not have 32 bytes");
    check("a:?", "key 1 is not in base64");
    let id = "key 1 has an id that is not 1 to 32 letters, digits, - _ or .";
    check(":AAAA", id);
    check("a b:AAAA", id);
    check(&format!("{}:AAAA", "a".repeat(33)), id);
    check(&format!("{A}\n{OTHER_A}"), "two keys have the id a");
}

#[test]
fn what_is_sealed_is_opened_at_its_place_only() {
    let keys = keys(&[A]);
    let sealed = keys.seal(b"cart 1", b"milk");
    assert!(is_sealed(&sealed));
    assert_eq!(key_id(&sealed), Some("a"));
    assert_eq!(sealed.len(), keys.overhead() + 4);
    assert!(!sealed.windows(4).any(|window| window == b"milk"));
    assert_eq!(keys.open(b"cart 1", &sealed).unwrap(), "milk");
    let refused = UnsealError::Refused { id: "a".to_owned() };
    assert_eq!(keys.open(b"cart 2", &sealed), Err(refused));
    assert_ne!(keys.seal(b"cart 1", b"milk"), sealed, "each time anew");
}

#[test]
fn other_processes_with_the_key_open_what_was_sealed() {
    let sealed = keys(&[A]).seal(b"x", b"milk");
    assert_eq!(keys(&[B, A]).open(b"x", &sealed).unwrap(), "milk");
    let missing = UnsealError::Missing { id: "a".to_owned() };
    assert_eq!(keys(&[B]).open(b"x", &sealed), Err(missing));
    let refused = UnsealError::Refused { id: "a".to_owned() };
    assert_eq!(keys(&[OTHER_A]).open(b"x", &sealed), Err(refused));
    assert_eq!(
        keys(&[A]).open(b"x", b"\x01plain"),
        Err(UnsealError::Unsealed)
    );
}

#[test]
fn no_nonce_is_used_twice_under_a_key() {
    let keys = keys(&[A]);
    keys.next.store(u64::from(u32::MAX), Ordering::Relaxed);
    let sealed = [keys.seal(b"x", b"one"), keys.seal(b"x", b"two")];
    assert_eq!(keys.derived.read().unwrap().len(), 2, "a key for each 2³²");
    assert_eq!(keys.open(b"x", &sealed[0]).unwrap(), "one");
    assert_eq!(keys.open(b"x", &sealed[1]).unwrap(), "two");
    assert_ne!(keys.salt, super::tests::keys(&[A]).salt);
}

#[test]
fn derived_keys_are_made_again_when_too_many_were_remembered() {
    let reader = keys(&[A]);
    let sealed: Vec<Bytes> = (0..DERIVED_MAX + 2)
        .map(|_| keys(&[A]).seal(b"x", b"milk"))
        .collect();
    for sealed in sealed.iter().chain(&sealed) {
        assert_eq!(reader.open(b"x", sealed).unwrap(), "milk");
    }
    assert!(reader.derived.read().unwrap().len() <= DERIVED_MAX);
}

#[test]
fn stores_are_opened_with_their_keys_only() {
    let verify = |given: Option<&Keys>, checks: &[Check], is_empty| {
        Keys::verify(given, checks, is_empty).map(|check| check.map(|check| check.id))
    };
    let id = |id: &str| id.to_owned();
    let (a, b, other) = (keys(&[A]), keys(&[B, A]), keys(&[OTHER_A]));
    let only_b = keys(&[B]);
    assert_eq!(verify(None, &[], false), Ok(None));
    assert_eq!(verify(Some(&a), &[], true), Ok(Some(id("a"))));
    assert_eq!(verify(Some(&a), &[], false), Err(VerifyError::Unsealed));
    let checks = [a.check()];
    assert_eq!(verify(Some(&a), &checks, false), Ok(None));
    assert_eq!(verify(Some(&b), &checks, false), Ok(Some(id("b"))));
    let missing = VerifyError::Missing { id: id("a") };
    assert_eq!(verify(Some(&only_b), &checks, false), Err(missing.clone()));
    assert_eq!(verify(None, &checks, false), Err(missing.clone()));
    let wrong = VerifyError::Wrong { id: id("a") };
    assert_eq!(verify(Some(&other), &checks, false), Err(wrong.clone()));
    for (error, code) in [
        (missing, Code::KeyNotGiven),
        (wrong, Code::KeyWrong),
        (VerifyError::Unsealed, Code::StoreUnsealed),
    ] {
        assert_eq!(error.code(), code);
        assert!(!error.remedy().is_empty());
    }
}

/// The bytes are part of the stored format; this record must open for ever.
#[test]
fn bytes_are_fixed() {
    let sealed = hex(FIXTURE);
    assert_eq!(keys(&[A]).open(b"cart 1", &sealed).unwrap(), "milk");
}

const FIXTURE: &str = "020161d14609d772a638850dbc2ed69e4f0896000000000\
    00000001c27443aaafb995742374b61c0014ff4872edc47";

fn hex(text: &str) -> Vec<u8> {
    (0..text.len() / 2)
        .map(|at| u8::from_str_radix(&text[2 * at..2 * at + 2], 16).unwrap())
        .collect()
}

proptest! {
    #[test]
    fn any_change_is_noticed(
        plain in vec(any::<u8>(), 0..64),
        at in any::<prop::sample::Index>(),
        mask in 1u8..,
        cut in any::<prop::sample::Index>(),
    ) {
        let keys = keys(&[A, B]);
        let sealed = keys.seal(b"place", &plain);
        prop_assert_eq!(keys.open(b"place", &sealed).unwrap(), &plain);
        let mut changed = sealed.to_vec();
        changed[at.index(sealed.len())] ^= mask;
        prop_assert!(keys.open(b"place", &changed).is_err());
        prop_assert!(keys.open(b"place", &sealed[..cut.index(sealed.len())]).is_err());
    }

    #[test]
    fn any_bytes_are_survived(bytes in vec(any::<u8>(), 0..128)) {
        prop_assert!(keys(&[A]).open(b"place", &bytes).is_err());
    }
}
