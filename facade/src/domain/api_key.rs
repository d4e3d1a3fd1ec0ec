//! What an API key looks like. Pure: the random bytes come from the caller.
//!
//! `daap_<role letter>_<52 characters><8 characters>`: 256 random bits, then a checksum of everything before it, both
//! in the lower-case letters and digits of [RFC 4648 base 32](https://www.rfc-editor.org/rfc/rfc4648#section-6). The
//! prefix lets scanners of source code find a leaked key; the checksum refuses a mistyped one without a look-up.

use std::fmt;

use daap_crds::name::TeamName;
use jiff::Timestamp;
use sha2::{Digest as _, Sha256};
use uuid::Uuid;

use super::actor::Role;

const ALPHABET: &[u8; 32] = b"abcdefghijklmnopqrstuvwxyz234567";
const RANDOM_CHARACTERS: usize = 52;
const CHECKSUM_BYTES: usize = 5;
const CHECKSUM_CHARACTERS: usize = 8;

/// The SHA-256 of a key: all that is stored of it.
///
/// One round without a salt is enough, because a key is 256 random bits and not a password.
pub type KeyDigest = [u8; 32];

/// A key whose checksum is right. Its text appears in no log: `Debug` hides it.
#[derive(Clone, PartialEq, Eq)]
pub struct ApiKey(String);

/// A key to be made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewKey {
    /// What people call it.
    pub name: String,
    /// The team it speaks for.
    pub team: TeamName,
    /// Its role.
    pub role: Role,
    /// When it stops working. Absent: never.
    pub expires_at: Option<Timestamp>,
}

/// A key as it is kept: everything but the key itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyRecord {
    /// The id.
    pub id: Uuid,
    /// What people call it.
    pub name: String,
    /// The team it speaks for.
    pub team: String,
    /// Its role.
    pub role: Role,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it stops working. Absent: never.
    pub expires_at: Option<Timestamp>,
    /// When it was revoked.
    pub revoked_at: Option<Timestamp>,
    /// When it was used last, as of an hour ago at most.
    pub last_used_at: Option<Timestamp>,
}

impl KeyRecord {
    /// Whether it works at this instant.
    pub fn works(&self, now: Timestamp) -> bool {
        self.revoked_at.is_none() && self.expires_at.is_none_or(|end| end > now)
    }
}

/// Which keys are asked for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct KeyFilter {
    /// Of this team.
    pub team: Option<String>,
    /// Of this role.
    pub role: Option<Role>,
}

impl KeyFilter {
    /// The filter as text, to which cursors are bound.
    pub fn fingerprint_text(&self) -> String {
        format!("api-keys {self:?}")
    }
}

impl ApiKey {
    /// The key made of these random bytes.
    pub fn from_random(role: Role, random: &[u8; 32]) -> Self {
        let text = format!("daap_{}_{}", letter(role), base32(random));
        let checksum = checksum(&text);
        Self(text + &checksum)
    }

    /// The key that a caller shows; `None` when it is none, or mistyped.
    pub fn parse(text: &str) -> Option<Self> {
        let random = Role::ALL
            .into_iter()
            .find_map(|role| text.strip_prefix(&format!("daap_{}_", letter(role))))?;
        let well_formed = random.len() == RANDOM_CHARACTERS + CHECKSUM_CHARACTERS
            && random.bytes().all(|byte| ALPHABET.contains(&byte));
        if !well_formed {
            return None;
        }
        let (body, given) = text.split_at(text.len() - CHECKSUM_CHARACTERS);
        (checksum(body) == given).then(|| Self(text.to_owned()))
    }

    /// What is stored of it.
    pub fn digest(&self) -> KeyDigest {
        Sha256::digest(self.0.as_bytes()).into()
    }

    /// The key itself. Shown once, to the person who asked for it.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for ApiKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("ApiKey(hidden)")
    }
}

const fn letter(role: Role) -> char {
    match role {
        Role::Platform => 'p',
        Role::Product => 't',
    }
}

fn checksum(text: &str) -> String {
    base32(&Sha256::digest(text.as_bytes())[..CHECKSUM_BYTES])
}

fn base32(bytes: &[u8]) -> String {
    let bit = |index: usize| {
        bytes
            .get(index / 8)
            .map_or(0, |byte| usize::from(byte >> (7 - index % 8) & 1))
    };
    (0..bytes.len() * 8)
        .step_by(5)
        .map(|start| (start..start + 5).fold(0, |value, index| value << 1 | bit(index)))
        .map(|value| char::from(ALPHABET[value]))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn encodes_like_rfc_4648() {
        assert_eq!(base32(b"foobar"), "mzxw6ytboi");
    }

    #[test]
    fn says_whose_it_is_and_round_trips() {
        let key = ApiKey::from_random(Role::Platform, &[7; 32]);
        assert!(key.reveal().starts_with("daap_p_"));
        assert_eq!(
            key.reveal().len(),
            "daap_p_".len() + RANDOM_CHARACTERS + CHECKSUM_CHARACTERS
        );
        assert_eq!(ApiKey::parse(key.reveal()), Some(key.clone()));
        assert!(!format!("{key:?}").contains(&key.reveal()[8..]));
    }

    #[test]
    fn every_single_mistake_is_noticed() {
        let key = ApiKey::from_random(Role::Product, &[0xA5; 32]);
        let text = key.reveal();
        for position in 0..text.len() {
            let mut mistyped = text.as_bytes().to_vec();
            mistyped[position] = if mistyped[position] == b'a' {
                b'b'
            } else {
                b'a'
            };
            assert_eq!(
                ApiKey::parse(std::str::from_utf8(&mistyped).unwrap()),
                None,
                "at {position}"
            );
        }
        for bad in [
            "",
            "daap_",
            "daap_t_",
            &text[1..],
            &text[..text.len() - 1],
            &text.to_uppercase(),
            &text.replace("daap_t_", "daap_x_"),
            "daap_t_ä",
        ] {
            assert_eq!(ApiKey::parse(bad), None, "{bad}");
        }
    }
}
