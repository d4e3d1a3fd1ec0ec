//! Who may do what: one table of role × action × ownership. Pure.
//!
//! Every operation of the contract that needs a key is an [`Action`]; the server does not start with one that is not.
//! A line also says what the audit log calls the thing that is acted on, so that no operation can be without it.

use super::actor::Role;

/// Something that a caller may want to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Action {
    /// Ask for a database.
    CreateDatabase,
    /// See which databases there are.
    ListDatabases,
    /// See one database.
    GetDatabase,
    /// Change what a database is for, or whether it may be deleted.
    ChangeDatabase,
    /// Destroy a database by the strategy of its tier.
    DeleteDatabase,
    /// Make a frozen database accessible again.
    UnfreezeDatabase,
    /// Destroy a database by another strategy.
    DestroyDatabase,
    /// Restore a database to a new one.
    RestoreDatabase,
    /// See what of a database can be restored.
    GetRestoreWindow,
    /// See the backups of a database.
    ListBackups,
    /// Take a backup of a database now.
    CreateBackup,
    /// See what is being done with a database, or was.
    GetOperation,
    /// See what changed in a database.
    GetDatabaseHistory,
    /// See which tiers there are.
    ListTiers,
    /// See one tier.
    GetTier,
    /// Add a tier to the menu.
    CreateTier,
    /// Change a tier.
    ChangeTier,
    /// Take a tier from the menu.
    DeleteTier,
    /// Make an API key.
    CreateKey,
    /// See which API keys there are.
    ListKeys,
    /// See one API key.
    GetKey,
    /// End an API key.
    RevokeKey,
    /// See who the key is.
    GetIdentity,
    /// Read the audit log.
    ListAudit,
    /// Check the audit log.
    VerifyAudit,
    /// See the quota of a tier.
    GetQuota,
    /// Set the quota of a tier.
    SetQuota,
}

/// Whose the thing is that the action is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Ownership {
    /// The caller's team's, or nobody's in particular.
    Own,
    /// Another team's.
    Foreign,
}

/// What the policy says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Go on.
    Allow,
    /// Refused, openly.
    Forbid,
    /// Refused as if the thing did not exist.
    Hide,
}

use Verdict::{Allow, Forbid, Hide};

/// The kind of thing that an action is about, as the audit log tells it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// A database.
    Database,
    /// A tier.
    Tier,
    /// An API key.
    ApiKey,
    /// The audit log.
    AuditLog,
    /// The quota of a tier.
    Quota,
    /// An operation of a database.
    Operation,
}

impl Kind {
    /// The word for it in REST and in the audit log.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Database => "database",
            Self::Tier => "tier",
            Self::ApiKey => "api-key",
            Self::AuditLog => "audit-log",
            Self::Quota => "quota",
            Self::Operation => "operation",
        }
    }
}

/// One line of the table.
pub struct Rule {
    /// The action.
    pub action: Action,
    /// The operation of the contract that performs it.
    pub operation: &'static str,
    /// What it is about.
    pub resource: Kind,
    /// What product teams may do with their own.
    pub product_own: Verdict,
    /// What product teams may do with another team's.
    pub product_foreign: Verdict,
    /// What platform teams may do.
    pub platform: Verdict,
    /// Whether it changes anything.
    pub changes: bool,
}

/// The table.
#[rustfmt::skip]
pub const RULES: &[Rule] = &[
    Rule { action: Action::CreateDatabase, operation: "createDatabase", resource: Kind::Database, product_own: Allow, product_foreign: Forbid, platform: Allow, changes: true },
    Rule { action: Action::ListDatabases,  operation: "listDatabases",  resource: Kind::Database, product_own: Allow, product_foreign: Hide,   platform: Allow, changes: false },
    Rule { action: Action::GetDatabase,    operation: "getDatabase",    resource: Kind::Database, product_own: Allow, product_foreign: Hide,   platform: Allow, changes: false },
    Rule { action: Action::ChangeDatabase, operation: "changeDatabase", resource: Kind::Database, product_own: Allow,  product_foreign: Hide,   platform: Allow, changes: true },
    Rule { action: Action::DeleteDatabase, operation: "deleteDatabase", resource: Kind::Database, product_own: Allow,  product_foreign: Hide,   platform: Allow, changes: true },
    Rule { action: Action::UnfreezeDatabase, operation: "unfreezeDatabase", resource: Kind::Database, product_own: Allow, product_foreign: Hide, platform: Allow, changes: true },
    Rule { action: Action::DestroyDatabase, operation: "destroyDatabase", resource: Kind::Database, product_own: Forbid, product_foreign: Forbid, platform: Allow, changes: true },
    Rule { action: Action::RestoreDatabase, operation: "restoreDatabase", resource: Kind::Database, product_own: Allow, product_foreign: Hide, platform: Allow, changes: true },
    Rule { action: Action::GetRestoreWindow, operation: "getRestoreWindow", resource: Kind::Database, product_own: Allow, product_foreign: Hide, platform: Allow, changes: false },
    Rule { action: Action::ListBackups,    operation: "listBackups",    resource: Kind::Database, product_own: Allow, product_foreign: Hide,   platform: Allow, changes: false },
    Rule { action: Action::CreateBackup,   operation: "createBackup",   resource: Kind::Database, product_own: Allow, product_foreign: Hide,   platform: Allow, changes: true },
    Rule { action: Action::GetOperation,   operation: "getOperation",   resource: Kind::Operation, product_own: Allow, product_foreign: Hide,  platform: Allow, changes: false },
    Rule { action: Action::GetDatabaseHistory, operation: "getDatabaseHistory", resource: Kind::Database, product_own: Allow, product_foreign: Hide, platform: Allow, changes: false },
    Rule { action: Action::ListTiers,      operation: "listTiers",      resource: Kind::Tier,     product_own: Allow, product_foreign: Allow,  platform: Allow, changes: false },
    Rule { action: Action::GetTier,        operation: "getTier",        resource: Kind::Tier,     product_own: Allow, product_foreign: Allow,  platform: Allow, changes: false },
    Rule { action: Action::CreateTier,     operation: "createTier",     resource: Kind::Tier,     product_own: Forbid, product_foreign: Forbid, platform: Allow, changes: true },
    Rule { action: Action::ChangeTier,     operation: "changeTier",     resource: Kind::Tier,     product_own: Forbid, product_foreign: Forbid, platform: Allow, changes: true },
    Rule { action: Action::DeleteTier,     operation: "deleteTier",     resource: Kind::Tier,     product_own: Forbid, product_foreign: Forbid, platform: Allow, changes: true },
    Rule { action: Action::CreateKey,      operation: "createApiKey",   resource: Kind::ApiKey,   product_own: Forbid, product_foreign: Forbid, platform: Allow, changes: true },
    Rule { action: Action::ListKeys,       operation: "listApiKeys",    resource: Kind::ApiKey,   product_own: Forbid, product_foreign: Forbid, platform: Allow, changes: false },
    Rule { action: Action::GetKey,         operation: "getApiKey",      resource: Kind::ApiKey,   product_own: Forbid, product_foreign: Forbid, platform: Allow, changes: false },
    Rule { action: Action::RevokeKey,      operation: "revokeApiKey",   resource: Kind::ApiKey,   product_own: Forbid, product_foreign: Forbid, platform: Allow, changes: true },
    Rule { action: Action::GetIdentity,    operation: "getIdentity",    resource: Kind::ApiKey,   product_own: Allow,  product_foreign: Hide,   platform: Allow, changes: false },
    Rule { action: Action::ListAudit,      operation: "listAuditLog",   resource: Kind::AuditLog, product_own: Allow,  product_foreign: Hide,   platform: Allow, changes: false },
    Rule { action: Action::VerifyAudit,    operation: "verifyAuditLog", resource: Kind::AuditLog, product_own: Forbid, product_foreign: Forbid, platform: Allow, changes: false },
    Rule { action: Action::GetQuota,       operation: "getQuota",       resource: Kind::Quota,    product_own: Allow, product_foreign: Allow,  platform: Allow, changes: false },
    Rule { action: Action::SetQuota,       operation: "setQuota",       resource: Kind::Quota,    product_own: Forbid, product_foreign: Forbid, platform: Allow, changes: true },
];

/// The line of the table for an operation of the contract.
pub fn rule_of(operation: &str) -> Option<&'static Rule> {
    RULES.iter().find(|rule| rule.operation == operation)
}

/// What the policy says. An action without a line is forbidden.
pub fn decide(role: Role, action: Action, ownership: Ownership) -> Verdict {
    let Some(rule) = RULES.iter().find(|rule| rule.action == action) else {
        return Forbid;
    };
    match (role, ownership) {
        (Role::Platform, _) => rule.platform,
        (Role::Product, Ownership::Own) => rule.product_own,
        (Role::Product, Ownership::Foreign) => rule.product_foreign,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The whole table as people read it, so that a change of a rule shows as a change of a line.
    #[test]
    fn table() {
        let lines = RULES
            .iter()
            .map(|rule| {
                let product = [Ownership::Own, Ownership::Foreign]
                    .map(|owner| decide(Role::Product, rule.action, owner));
                let platform = [Ownership::Own, Ownership::Foreign]
                    .map(|owner| decide(Role::Platform, rule.action, owner));
                format!(
                    "{} product {product:?} platform {platform:?}",
                    rule.operation
                )
            })
            .collect::<Vec<_>>()
            .join("\n");
        insta::assert_snapshot!(lines, @r"
        createDatabase product [Allow, Forbid] platform [Allow, Allow]
        listDatabases product [Allow, Hide] platform [Allow, Allow]
        getDatabase product [Allow, Hide] platform [Allow, Allow]
        changeDatabase product [Allow, Hide] platform [Allow, Allow]
        deleteDatabase product [Allow, Hide] platform [Allow, Allow]
        unfreezeDatabase product [Allow, Hide] platform [Allow, Allow]
        destroyDatabase product [Forbid, Forbid] platform [Allow, Allow]
        restoreDatabase product [Allow, Hide] platform [Allow, Allow]
        getRestoreWindow product [Allow, Hide] platform [Allow, Allow]
        listBackups product [Allow, Hide] platform [Allow, Allow]
        createBackup product [Allow, Hide] platform [Allow, Allow]
        getOperation product [Allow, Hide] platform [Allow, Allow]
        getDatabaseHistory product [Allow, Hide] platform [Allow, Allow]
        listTiers product [Allow, Allow] platform [Allow, Allow]
        getTier product [Allow, Allow] platform [Allow, Allow]
        createTier product [Forbid, Forbid] platform [Allow, Allow]
        changeTier product [Forbid, Forbid] platform [Allow, Allow]
        deleteTier product [Forbid, Forbid] platform [Allow, Allow]
        createApiKey product [Forbid, Forbid] platform [Allow, Allow]
        listApiKeys product [Forbid, Forbid] platform [Allow, Allow]
        getApiKey product [Forbid, Forbid] platform [Allow, Allow]
        revokeApiKey product [Forbid, Forbid] platform [Allow, Allow]
        getIdentity product [Allow, Hide] platform [Allow, Allow]
        listAuditLog product [Allow, Hide] platform [Allow, Allow]
        verifyAuditLog product [Forbid, Forbid] platform [Allow, Allow]
        getQuota product [Allow, Allow] platform [Allow, Allow]
        setQuota product [Forbid, Forbid] platform [Allow, Allow]
        ");
    }

    #[test]
    fn one_line_per_action_and_operation() {
        for rule in RULES {
            assert_eq!(
                RULES
                    .iter()
                    .filter(|other| other.action == rule.action)
                    .count(),
                1
            );
            assert_eq!(
                RULES
                    .iter()
                    .filter(|other| other.operation == rule.operation)
                    .count(),
                1
            );
        }
    }
}
