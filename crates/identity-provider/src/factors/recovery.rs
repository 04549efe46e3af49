//! Recovery codes: ten secrets on paper for the day the other factor is lost.
//!
//! Each has 80 random bits and works once; the database holds keyed hashes. A new set replaces the
//! whole of the old one, so that a lost sheet is worth nothing.

use quintet_store::{Store, Tx, args};
use quintet_types::Entropy;
use zeroize::Zeroizing;

use crate::vault::{Purpose, Vault};

/// Codes in a set.
pub(crate) const CODES: usize = 10;
const LETTERS: usize = 16;
const GROUP: usize = 4;
/// Crockford's base32 without letters that are mistaken for one another.
const ALPHABET: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";

/// Draws a set and stores it in place of the one before.
pub(crate) async fn replace(
    tx: &mut Tx,
    vault: &Vault,
    entropy: &dyn Entropy,
    user_id: &str,
    now: i64,
) -> Result<Vec<Zeroizing<String>>, quintet_store::Error> {
    tx.execute("DELETE FROM identity_recovery_codes WHERE user_id = $1", args![user_id]).await?;
    let mut codes = Vec::with_capacity(CODES);
    for _ in 0..CODES {
        let code = draw(entropy);
        tx.execute(
            "INSERT INTO identity_recovery_codes (code_hash, user_id, created_at) VALUES ($1, $2, $3)",
            args![hash(vault, user_id, &code), user_id, now],
        )
        .await?;
        codes.push(code);
    }
    Ok(codes)
}

/// Uses a code up; `false` when it is none of this person's or was used before.
pub(crate) async fn redeem(
    store: &Store,
    vault: &Vault,
    user_id: &str,
    code: &str,
    now: i64,
) -> Result<bool, quintet_store::Error> {
    let mut tx = store.begin().await?;
    let updated = tx
        .execute(
            "UPDATE identity_recovery_codes SET used_at = $1 \
             WHERE code_hash = $2 AND user_id = $3 AND used_at IS NULL",
            args![now, hash(vault, user_id, code), user_id],
        )
        .await?;
    tx.commit().await?;
    Ok(updated == 1)
}

fn draw(entropy: &dyn Entropy) -> Zeroizing<String> {
    let mut bytes = Zeroizing::new([0u8; LETTERS]);
    entropy.fill(bytes.as_mut_slice());
    let mut code = Zeroizing::new(String::with_capacity(LETTERS + LETTERS / GROUP));
    for (index, byte) in bytes.iter().enumerate() {
        if index > 0 && index % GROUP == 0 {
            code.push('-');
        }
        // 32 divides 256: every letter is as likely as the others.
        code.push(char::from(ALPHABET.get(usize::from(byte % 32)).copied().unwrap_or_default()));
    }
    code
}

fn hash(vault: &Vault, user_id: &str, code: &str) -> String {
    vault.hash_parts(Purpose::Recovery, &[user_id.as_bytes(), plain(code).as_bytes()])
}

/// A code as people type it: any case, with or without its dashes, and o, i and l as they look.
fn plain(code: &str) -> Zeroizing<String> {
    let letters = code.chars().filter(char::is_ascii_alphanumeric).take(LETTERS + 1);
    Zeroizing::new(
        letters
            .map(|letter| match letter.to_ascii_lowercase() {
                'o' => '0',
                'i' | 'l' => '1',
                other => other,
            })
            .collect(),
    )
}

#[cfg(test)]
mod tests {
    use quintet_types::SystemEntropy;

    use super::*;

    #[test]
    fn a_code_is_four_groups_of_four_and_read_however_it_is_typed() {
        let code = draw(&SystemEntropy);
        assert_eq!(code.split('-').map(str::len).collect::<Vec<_>>(), [4, 4, 4, 4]);
        assert_eq!(plain(&code.to_uppercase()).as_str(), code.replace('-', ""));
        assert_eq!(plain(" OIL0-abcd ").as_str(), "0110abcd");
        assert_eq!(plain(&"a".repeat(10_000)).len(), LETTERS + 1);
    }
}
