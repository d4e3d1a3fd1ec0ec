//! Labels, annotations and finalizers that DAAP sets. Pure constants.

/// On every child: the uid of the [`crate::DaapDatabase`] it belongs to.
pub const DATABASE_UID: &str = "daap.dev/database-uid";
/// On every child and on pods: the name of the database.
pub const DATABASE: &str = "daap.dev/database";
/// On children: the owning team. On namespaces: the team whose applications run there.
pub const TEAM: &str = "daap.dev/team";
/// On children: the tier the database is bound to.
pub const TIER: &str = "daap.dev/tier";
/// On a Cluster: the incarnation (archive server name) it was created for.
pub const INCARNATION: &str = "daap.dev/incarnation";
/// On a namespace, before the first child is created in it.
pub const HOLDS_DATA: &str = "daap.dev/holds-data";
/// On a database made over REST: the audit intent that made it.
pub const INTENT: &str = "daap.dev/intent";
/// On a database: the id that its next operation gets, so that who asks for one knows it.
pub const OPERATION: &str = "daap.dev/operation";
/// On a database: what the operation is that [`OPERATION`] names, in a word of `OperationKind`. Read by who tells of it
/// before it begins.
pub const OPERATION_KIND: &str = "daap.dev/operation-kind";
/// On a database: the uids, separated by commas, of the databases that are being restored from it. Its backups stay
/// whole meanwhile.
pub const READERS: &str = "daap.dev/readers";
/// On a deleted database: that its record was written down, so that the object may go.
pub const RECORDED: &str = "daap.dev/recorded";
/// Set beforehand by a person who means to delete a guarded object; the value is that object's uid.
pub const ALLOW_DELETE: &str = "daap.dev/allow-delete";
/// Marks everything DAAP manages.
pub const MANAGED_BY: &str = "app.kubernetes.io/managed-by";
/// The value of [`MANAGED_BY`].
pub const MANAGED_BY_DAAP: &str = "daap";

/// Keeps a database until its destruction is settled.
pub const DATABASE_FINALIZER: &str = "daap.dev/database";
/// Keeps a tier, a revision or an object store while something refers to it.
pub const IN_USE_FINALIZER: &str = "daap.dev/in-use";
