//! The keys of the Secret with what an application needs to connect, by the names of the
//! [Service Binding](https://servicebinding.io/spec/core/1.1.0/#well-known-secret-entries) specification. Pure constants.

/// The name of the role.
pub const USERNAME: &str = "username";
/// Its password.
pub const PASSWORD: &str = "password";
/// A connection URI for the instance, with the password in it.
pub const URI: &str = "uri";
/// The same for the pooler, where the tier has one.
pub const POOLER_URI: &str = "pooler-uri";
/// The host name of the pooler.
pub const POOLER_HOST: &str = "pooler-host";
/// The certificate authority that has signed the server's certificate.
pub const AUTHORITY: &str = "ca.crt";
