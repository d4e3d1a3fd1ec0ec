//! Who asks. Pure.

use daap_crds::name::TeamName;
use uuid::Uuid;

/// What kind of team a key belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Role {
    /// Rules tiers, quotas and keys, and sees every database.
    Platform,
    /// Owns databases.
    Product,
}

impl Role {
    /// Every role.
    pub const ALL: [Self; 2] = [Self::Platform, Self::Product];

    /// The word for it in REST, in the audit log and in the store.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Platform => "platform-team",
            Self::Product => "product-team",
        }
    }

    /// The role of a word.
    pub fn from_word(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|role| role.as_str() == word)
    }
}

/// Who asks: the key that was shown, and the team it speaks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Actor {
    /// The id of the key.
    pub key_id: Uuid,
    /// The team.
    pub team: TeamName,
    /// The role of the key.
    pub role: Role,
}

impl Actor {
    /// The team whose databases alone exist for this actor; `None` when all do.
    pub fn scope(&self) -> Option<&TeamName> {
        match self.role {
            Role::Platform => None,
            Role::Product => Some(&self.team),
        }
    }

    /// Narrows a wish for a team's things to those that exist for this actor; whether any can. Another team's do not
    /// exist, so asking for them finds nothing.
    pub fn narrow(&self, team: &mut Option<String>) -> bool {
        let Some(own) = self.scope() else {
            return true;
        };
        let own = own.as_str();
        team.get_or_insert_with(|| own.to_owned()) == own
    }
}
