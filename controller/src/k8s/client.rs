//! Reads from the API server, each with a deadline. Reads the cluster; never writes.

use std::{fmt::Debug, time::Duration};

use futures::{FutureExt as _, future::BoxFuture};
use k8s_openapi::{ClusterResourceScope, NamespaceResourceScope};
use kube::{
    Api, Client, Resource,
    api::{ListParams, ObjectList},
    core::PartialObjectMeta,
};
use serde::de::DeserializeOwned;

use super::error::CallError;

/// What a look for one object found.
#[derive(Debug, Clone, Default, PartialEq)]
pub enum Lookup<K> {
    /// The object.
    Found(K),
    /// No object of that name.
    #[default]
    Absent,
    /// The API server does not know the kind: its CRD is not installed.
    KindMissing,
}

impl<K> Lookup<K> {
    /// The object, if there is one.
    pub fn found(&self) -> Option<&K> {
        match self {
            Self::Found(object) => Some(object),
            Self::Absent | Self::KindMissing => None,
        }
    }

    /// Whether the kind is not installed.
    pub fn kind_missing(&self) -> bool {
        matches!(self, Self::KindMissing)
    }
}

/// Runs a call, but not for longer than its deadline. On the heap: there are many of them in one run.
pub(super) fn within<'a, T: 'a>(
    deadline: Duration,
    call: impl Future<Output = kube::Result<T>> + Send + 'a,
) -> BoxFuture<'a, Result<T, CallError>> {
    async move {
        match tokio::time::timeout(deadline, call).await {
            Ok(result) => result.map_err(CallError::from),
            Err(_) => Err(CallError::Deadline(deadline)),
        }
    }
    .boxed()
}

/// Reads live objects. Nothing here comes from a cache.
#[derive(Clone)]
pub struct Reader {
    client: Client,
    deadline: Duration,
}

impl Reader {
    /// A reader whose every call ends after `deadline`.
    pub fn new(client: Client, deadline: Duration) -> Self {
        Self { client, deadline }
    }

    /// An object of a namespace.
    ///
    /// # Errors
    /// When the API server does not answer, or with something else than the object or its absence.
    pub async fn get_in<K>(&self, namespace: &str, name: &str) -> Result<Lookup<K>, CallError>
    where
        K: Resource<Scope = NamespaceResourceScope, DynamicType = ()>
            + Clone
            + DeserializeOwned
            + Debug,
    {
        self.look(Api::namespaced(self.client.clone(), namespace), name)
            .await
    }

    /// An object of the cluster.
    ///
    /// # Errors
    /// When the API server does not answer, or with something else than the object or its absence.
    pub async fn get<K>(&self, name: &str) -> Result<Lookup<K>, CallError>
    where
        K: Resource<Scope = ClusterResourceScope, DynamicType = ()>
            + Clone
            + DeserializeOwned
            + Debug,
    {
        self.look(Api::all(self.client.clone()), name).await
    }

    async fn look<K>(&self, api: Api<K>, name: &str) -> Result<Lookup<K>, CallError>
    where
        K: Clone + DeserializeOwned + Debug,
    {
        match within(self.deadline, api.get(name)).await {
            Ok(object) => Ok(Lookup::Found(object)),
            Err(error) => match error.status() {
                // The API server names the object it did not find; for a kind it does not serve it has no details.
                Some(status)
                    if status.code == 404
                        && status.details.as_ref().is_some_and(|d| !d.name.is_empty()) =>
                {
                    Ok(Lookup::Absent)
                }
                Some(status) if status.code == 404 => Ok(Lookup::KindMissing),
                _ => Err(error),
            },
        }
    }

    /// Whether the API server serves a kind: whether its CRD is installed.
    ///
    /// # Errors
    /// When the API server does not answer.
    pub async fn serves<K>(&self) -> Result<bool, CallError>
    where
        K: Resource<DynamicType = ()> + Clone + DeserializeOwned + Debug,
    {
        let api: Api<PartialObjectMeta<K>> = Api::all(self.client.clone());
        match within(self.deadline, api.list(&ListParams::default().limit(1))).await {
            Ok(_) => Ok(true),
            Err(error) if error.status().is_some_and(|status| status.code == 404) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// All objects of a namespace that a selector selects.
    ///
    /// # Errors
    /// When the API server does not answer with the list.
    pub async fn list_in<K>(
        &self,
        namespace: &str,
        selection: &ListParams,
    ) -> Result<Vec<K>, CallError>
    where
        K: Resource<Scope = NamespaceResourceScope, DynamicType = ()>
            + Clone
            + DeserializeOwned
            + Debug,
    {
        let api = Api::namespaced(self.client.clone(), namespace);
        list_pages(&api, selection, self.deadline)
            .await
            .map(|list| list.items)
    }

    /// All objects of the cluster that a selector selects.
    ///
    /// # Errors
    /// When the API server does not answer with the list.
    pub async fn list_all<K>(&self, selection: &ListParams) -> Result<Vec<K>, CallError>
    where
        K: Resource<DynamicType = ()> + Clone + DeserializeOwned + Debug,
    {
        let api = Api::all(self.client.clone());
        list_pages(&api, selection, self.deadline)
            .await
            .map(|list| list.items)
    }
}

/// How many objects one page of a list has.
const PAGE_SIZE: u32 = 500;

/// A whole list, page by page, each page within the deadline.
pub(super) async fn list_pages<K>(
    api: &Api<K>,
    selection: &ListParams,
    deadline: Duration,
) -> Result<ObjectList<K>, CallError>
where
    K: Clone + DeserializeOwned + Debug,
{
    let mut selection = selection.clone().limit(PAGE_SIZE);
    let mut all = within(deadline, api.list(&selection)).await?;
    while let Some(token) = all
        .metadata
        .continue_
        .take()
        .filter(|token| !token.is_empty())
    {
        selection = selection.continue_token(&token);
        let page = within(deadline, api.list(&selection)).await?;
        all.items.extend(page.items);
        all.metadata = page.metadata;
    }
    Ok(all)
}
