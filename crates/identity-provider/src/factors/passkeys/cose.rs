//! Public keys as authenticators write them: COSE keys (RFC 9052 §7) in CBOR (RFC 8949).
//!
//! Read is the little that such a key is made of: one map of a definite length from integers to integers
//! and byte strings. Anything else is refused. Three algorithms are known: ES256, EdDSA with Ed25519,
//! RS256; between them they are what every authenticator in use offers.

use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_ASN1, ED25519, RSA_PKCS1_2048_8192_SHA256, RsaPublicKeyComponents, UnparsedPublicKey,
};

/// Labels and values of the IANA COSE registries.
const KTY: i64 = 1;
const ALG: i64 = 3;
const KTY_OKP: i64 = 1;
const KTY_EC2: i64 = 2;
const KTY_RSA: i64 = 3;
pub(crate) const ES256: i64 = -7;
pub(crate) const EDDSA: i64 = -8;
pub(crate) const RS256: i64 = -257;
const CRV_P256: i64 = 1;
const CRV_ED25519: i64 = 6;

/// Bounds the map; an RSA key has four entries, an EC2 key five.
const MAX_ENTRIES: u64 = 16;

/// A public key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum PublicKey {
    /// ES256: the uncompressed point.
    P256([u8; 65]),
    /// EdDSA.
    Ed25519([u8; 32]),
    /// RS256: modulus and exponent, big-endian.
    Rsa { n: Vec<u8>, e: Vec<u8> },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Item<'a> {
    Int(i64),
    Bytes(&'a [u8]),
}

impl Item<'_> {
    const fn int(self) -> Option<i64> {
        match self {
            Self::Int(value) => Some(value),
            Self::Bytes(_) => None,
        }
    }
}

impl PublicKey {
    /// Reads the key at the start of `bytes`; also returns how long it is.
    pub(crate) fn read(bytes: &[u8]) -> Option<(Self, usize)> {
        let mut reader = Reader { rest: bytes };
        let entries = reader.map()?;
        let mut found: Vec<(i64, Item<'_>)> = Vec::new();
        for _ in 0..entries {
            let label = reader.item()?.int()?;
            if found.iter().any(|(known, _)| *known == label) {
                return None;
            }
            found.push((label, reader.item()?));
        }
        let key = Self::from_entries(&found)?;
        Some((key, bytes.len() - reader.rest.len()))
    }

    fn from_entries(entries: &[(i64, Item<'_>)]) -> Option<Self> {
        let entry = |label: i64| entries.iter().find(|(known, _)| *known == label).map(|(_, item)| *item);
        let int = |label: i64| entry(label).and_then(Item::int);
        let bytes = |label: i64| match entry(label) {
            Some(Item::Bytes(bytes)) => Some(bytes),
            _ => None,
        };
        match (int(KTY)?, int(ALG)?) {
            (KTY_EC2, ES256) if int(-1) == Some(CRV_P256) => {
                let (x, y) = (<[u8; 32]>::try_from(bytes(-2)?).ok()?, <[u8; 32]>::try_from(bytes(-3)?).ok()?);
                let point = [[4].as_slice(), &x, &y].concat();
                Some(Self::P256(point.try_into().ok()?))
            }
            (KTY_OKP, EDDSA) if int(-1) == Some(CRV_ED25519) => {
                Some(Self::Ed25519(bytes(-2)?.try_into().ok()?))
            }
            (KTY_RSA, RS256) => Some(Self::Rsa { n: bytes(-1)?.to_vec(), e: bytes(-2)?.to_vec() }),
            _ => None,
        }
    }

    /// Whether `signature` is one of `message` by this key.
    pub(crate) fn verifies(&self, message: &[u8], signature: &[u8]) -> bool {
        match self {
            Self::P256(point) => {
                UnparsedPublicKey::new(&ECDSA_P256_SHA256_ASN1, point).verify(message, signature).is_ok()
            }
            Self::Ed25519(key) => UnparsedPublicKey::new(&ED25519, key).verify(message, signature).is_ok(),
            Self::Rsa { n, e } => RsaPublicKeyComponents { n, e }
                .verify(&RSA_PKCS1_2048_8192_SHA256, message, signature)
                .is_ok(),
        }
    }
}

struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    /// The major type of the next item and its argument (RFC 8949 §3).
    fn head(&mut self) -> Option<(u8, u64)> {
        let (first, rest) = self.rest.split_first()?;
        let (major, info) = (first >> 5, first & 0x1f);
        let length = match info {
            0..=23 => 0,
            24 => 1,
            25 => 2,
            26 => 4,
            27 => 8,
            // Indefinite lengths have no place in what is signed (CTAP2 canonical form).
            _ => return None,
        };
        let (argument, rest) = rest.split_at_checked(length)?;
        self.rest = rest;
        let value = argument.iter().fold(0u64, |value, byte| value << 8 | u64::from(*byte));
        Some((major, if length == 0 { u64::from(info) } else { value }))
    }

    fn map(&mut self) -> Option<u64> {
        self.head()
            .filter(|(major, entries)| *major == 5 && *entries <= MAX_ENTRIES)
            .map(|(_, entries)| entries)
    }

    fn item(&mut self) -> Option<Item<'a>> {
        match self.head()? {
            (0, value) => Some(Item::Int(i64::try_from(value).ok()?)),
            (1, value) => Some(Item::Int(-1 - i64::try_from(value).ok()?)),
            (2, length) => {
                let (bytes, rest) = self.rest.split_at_checked(usize::try_from(length).ok()?)?;
                self.rest = rest;
                Some(Item::Bytes(bytes))
            }
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic_and_a_key_never_ends_beyond_them(
            bytes in proptest::collection::vec(any::<u8>(), 0..256),
        ) {
            if let Some((_, length)) = PublicKey::read(&bytes) {
                prop_assert!(length <= bytes.len());
            }
        }
    }

    fn ec2(changes: impl Fn(&mut Vec<u8>)) -> Vec<u8> {
        let mut key = vec![0xa5, 0x01, 0x02, 0x03, 0x26, 0x20, 0x01, 0x21, 0x58, 32];
        key.extend([7; 32]);
        key.extend([0x22, 0x58, 32]);
        key.extend([8; 32]);
        changes(&mut key);
        key
    }

    #[test]
    fn a_key_is_read_to_its_end_and_what_follows_is_left() {
        let (key, length) = PublicKey::read(&ec2(|key| key.extend([0xa1, 0x00]))).unwrap();
        assert_eq!(length, 77);
        assert!(matches!(key, PublicKey::P256(point) if point[0] == 4 && point[1] == 7 && point[64] == 8));
    }

    #[test]
    fn other_algorithms_curves_lengths_and_doubled_labels_are_no_keys() {
        for (what, changed) in [
            ("another algorithm", ec2(|key| key[4] = 0x27)),
            ("another curve", ec2(|key| key[6] = 0x02)),
            (
                "a short coordinate",
                ec2(|key| {
                    key.truncate(76);
                }),
            ),
            ("a label twice", ec2(|key| key[5] = 0x03)),
            ("an indefinite map", ec2(|key| key[0] = 0xbf)),
            ("a huge map", ec2(|key| key[0] = 0xb7)),
            ("nothing", Vec::new()),
        ] {
            assert_eq!(PublicKey::read(&changed), None, "{what}");
        }
    }
}
