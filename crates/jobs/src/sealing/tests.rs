use proptest::prelude::*;
use quintet_testkit::FakeClock;
use quintet_types::SystemEntropy;

use super::*;

fn key(byte: u8) -> String {
    format!("{byte:02x}").repeat(32)
}

fn seals(keys: &[u8]) -> Seals {
    let keys: Vec<String> = keys.iter().map(|byte| key(*byte)).collect();
    Seals::new(["secret".to_owned()], keys.iter().map(String::as_str), &key(9)).unwrap()
}

fn job() -> JobId {
    JobId::generate(&FakeClock::default(), &SystemEntropy)
}

#[test]
fn a_box_opens_for_its_job_its_kind_and_its_content_alone() {
    let seals = seals(&[1]);
    let place = Place { content: Content::Args, job: job(), kind: "secret" };
    let sealed = seal(Some(&seals), place, r#"{"to":"a@b.example"}"#.to_owned()).unwrap();
    assert!(is_sealed(&sealed) && !sealed.contains("example"));
    assert_eq!(open(Some(&seals), place, &sealed).unwrap().unwrap(), r#"{"to":"a@b.example"}"#);
    for other in [
        Place { job: job(), ..place },
        Place { kind: "secret2", ..place },
        Place { content: Content::Result, ..place },
    ] {
        assert_eq!(open(Some(&seals), other, &sealed), Err(SealError::Broken), "{other:?}");
    }
}

#[test]
fn the_first_key_seals_and_a_missing_one_is_named() {
    let (old, both, new) = (seals(&[1]), seals(&[2, 1]), seals(&[2]));
    let place = Place { content: Content::Args, job: job(), kind: "secret" };
    let sealed = seal(Some(&old), place, "7".to_owned()).unwrap();
    assert_eq!(open(Some(&both), place, &sealed).unwrap().unwrap(), "7");
    let missing = old.key_ids().next().unwrap().to_owned();
    assert_eq!(open(Some(&new), place, &sealed), Err(SealError::MissingKey { key: missing.clone() }));
    assert_eq!(open(None, place, &sealed), Err(SealError::MissingKey { key: missing }));
    let sealed = seal(Some(&both), place, "7".to_owned()).unwrap();
    assert_eq!(open(Some(&new), place, &sealed).unwrap().unwrap(), "7");
}

#[test]
fn what_is_sealed_is_not_sealed_again_and_other_kinds_are_left_alone() {
    let seals = seals(&[1]);
    let place = Place { content: Content::Args, job: job(), kind: "secret" };
    let sealed = seal(Some(&seals), place, "7".to_owned()).unwrap();
    assert_eq!(seal(Some(&seals), place, sealed.clone()).unwrap(), sealed);
    let plain = Place { kind: "plain", ..place };
    assert_eq!(seal(Some(&seals), plain, "7".to_owned()).unwrap(), "7");
    assert_eq!(open(Some(&seals), plain, "7").unwrap(), None);
}

#[test]
fn a_key_that_is_none_is_refused() {
    for broken in ["", "00", &"0g".repeat(32), &"00".repeat(33), &"0".repeat(63)] {
        let refused = Seals::new([], [broken], &key(9)).unwrap_err();
        assert_eq!(refused, SealError::Key, "{broken}");
        assert_eq!(Seals::new([], [key(1).as_str()], broken).unwrap_err(), SealError::Key, "{broken}");
    }
    assert_eq!(Seals::new([], [], &key(9)).unwrap_err(), SealError::Key);
}

proptest! {
    #[test]
    fn a_box_that_was_changed_anywhere_does_not_open(text: String, place: prop::sample::Index, bit in 0u8..6) {
        let seals = seals(&[1]);
        let bound = Place { content: Content::Checkpoint, job: job(), kind: "secret" };
        let sealed = seals.seal(bound, &text).unwrap();
        prop_assert_eq!(open(Some(&seals), bound, &sealed).unwrap().unwrap(), text);
        let mut bytes = sealed.into_bytes();
        let place = place.index(bytes.len());
        bytes[place] ^= 1 << bit;
        if let Ok(changed) = String::from_utf8(bytes) {
            // A changed prefix makes a text that is not sealed, and not JSON either.
            let opened = open(Some(&seals), bound, &changed);
            prop_assert!(opened.is_err() || (opened == Ok(None) && shown(&changed).is_err()));
        }
    }

    #[test]
    fn whatever_is_stored_is_read_without_a_panic(text: String) {
        let bound = Place { content: Content::Args, job: job(), kind: "secret" };
        let _ = open(Some(&seals(&[1])), bound, &text);
        let sealed = format!("{PREFIX}{text}");
        prop_assert!(open(Some(&seals(&[1])), bound, &sealed).is_err());
    }
}
