//! What all kinds of resources have in common, for code that works on any of them. Traits only.

use std::fmt::Debug;

use kube::{Resource, core::ClusterResourceScope};
use serde::{Serialize, de::DeserializeOwned};

/// A kind of resource.
pub trait Kind:
    Resource<DynamicType = ()> + Clone + Debug + Serialize + DeserializeOwned + Send + Sync + 'static
{
}

impl<K> Kind for K where
    K: Resource<DynamicType = ()>
        + Clone
        + Debug
        + Serialize
        + DeserializeOwned
        + Send
        + Sync
        + 'static
{
}

/// A kind without namespaces.
pub trait ClusterWide: Kind + Resource<Scope = ClusterResourceScope> {}

impl<K: Kind + Resource<Scope = ClusterResourceScope>> ClusterWide for K {}
