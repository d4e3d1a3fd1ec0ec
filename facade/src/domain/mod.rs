//! What the facade decides, without any input or output. Pure: no clock, no client, no transport.
//!
//! | module | subject |
//! |---|---|
//! | [`actor`] | who asks |
//! | [`policy`] | who may do what |
//! | [`api_key`] | what a key looks like |
//! | [`audit`], [`audit_chain`] | what is kept of a call, and what makes every later change of it show |
//! | [`database`], [`tier`] | what is answered about databases and tiers |
//! | [`hexadecimal`] | bytes as digits |
//! | [`destruction`], [`restore`], [`backup`] | what may be done to a database in which state |
//! | [`operation`] | what goes on with a database |
//! | [`history`] | what changed in a database, and who changed it |
//! | [`quota`], [`decimal`] | what is answered about quotas, in exact numbers |
//! | [`page`] | slices of long lists |
//! | [`entity_tag`] | states of a resource, and conditions on them |
//! | [`merge_patch`] | changes of a JSON document |
//! | [`intent`] | the mark of an audit intent on a resource |
//! | [`failure`] | why something was not done |

pub mod actor;
pub mod api_key;
pub mod audit;
pub mod audit_chain;
pub mod backup;
pub mod database;
pub mod decimal;
pub mod destruction;
pub mod entity_tag;
pub mod failure;
pub mod hexadecimal;
pub mod history;
pub mod intent;
pub mod merge_patch;
pub mod operation;
pub mod page;
pub mod policy;
pub mod quota;
pub mod restore;
pub mod tier;
