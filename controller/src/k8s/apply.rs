//! Writes to the API server, each with a deadline and only while this replica leads. Writes.

use std::{fmt::Debug, time::Duration};

use kube::{
    Api, Client, Resource, ResourceExt,
    api::{ApiResource, DeleteParams, DynamicObject, Patch, PatchParams, Preconditions},
};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::{Value, json};

use super::{
    FIELD_MANAGER,
    client::within,
    difference::{differs, with_digest},
    error::CallError,
    lease::Leadership,
};

/// What became of one object.
#[derive(Debug, Clone, PartialEq)]
pub enum Outcome<K> {
    /// It is as it should be; nothing was written.
    Unchanged(K),
    /// It was not there, and is now.
    Created(K),
    /// It was different, and is not any more.
    Changed(K),
}

impl<K> Outcome<K> {
    /// The object.
    pub fn object(&self) -> &K {
        match self {
            Self::Unchanged(object) | Self::Created(object) | Self::Changed(object) => object,
        }
    }

    /// Whether something was written.
    pub fn is_written(&self) -> bool {
        !matches!(self, Self::Unchanged(_))
    }
}

/// Writes objects.
#[derive(Clone)]
pub struct Writer {
    client: Client,
    deadline: Duration,
    leadership: Leadership,
}

impl Writer {
    /// A writer whose every call ends after `deadline`, and that writes only under `leadership`.
    pub fn new(client: Client, deadline: Duration, leadership: Leadership) -> Self {
        Self {
            client,
            deadline,
            leadership,
        }
    }

    /// Brings an object to what is desired, writing only on a difference.
    ///
    /// An object that was not `observed` is created. Creating does not force: should another object of that name
    /// have come into being meanwhile, its fields conflict, and nothing of it is overwritten. An observed object is
    /// changed under its uid, so that its disappearance is a conflict and not another creation.
    ///
    /// # Errors
    /// When the API server does not take the write; see [`CallError::is_conflict`].
    pub async fn apply<K>(&self, desired: &K, observed: Option<&K>) -> Result<Outcome<K>, CallError>
    where
        K: Object + Serialize,
    {
        let mut desired = with_digest(serde_json::to_value(desired)?);
        let name = desired["metadata"]["name"]
            .as_str()
            .unwrap_or_default()
            .to_owned();
        let api = self.api::<K>(desired["metadata"]["namespace"].as_str());
        let Some(observed) = observed else {
            let created = self
                .patch(
                    &api,
                    &name,
                    PatchParams::apply(FIELD_MANAGER),
                    &Patch::Apply(desired),
                )
                .await?;
            return Ok(Outcome::Created(created));
        };
        if !differs(&desired, &serde_json::to_value(observed)?) {
            return Ok(Outcome::Unchanged(observed.clone()));
        }
        desired["metadata"]["uid"] = json!(observed.meta().uid);
        let parameters = PatchParams::apply(FIELD_MANAGER).force();
        Ok(Outcome::Changed(
            self.patch(&api, &name, parameters, &Patch::Apply(desired))
                .await?,
        ))
    }

    /// Changes some fields of an object, if it still is the one that was read.
    ///
    /// # Errors
    /// A conflict when the object changed since it was read.
    pub async fn amend<K>(&self, read: &K, mut changes: Value) -> Result<K, CallError>
    where
        K: Object,
    {
        changes["metadata"]["resourceVersion"] = json!(read.meta().resource_version);
        changes["metadata"]["uid"] = json!(read.meta().uid);
        let api = self.api::<K>(read.meta().namespace.as_deref());
        let parameters = PatchParams {
            field_manager: Some(FIELD_MANAGER.to_owned()),
            ..PatchParams::default()
        };
        self.patch(&api, &read.name_any(), parameters, &Patch::Merge(changes))
            .await
    }

    /// Writes the whole status of an object, if it still is the one that was read.
    ///
    /// # Errors
    /// A conflict when the object changed since it was read.
    pub async fn write_status<K>(&self, read: &K, status: &impl Serialize) -> Result<K, CallError>
    where
        K: Object,
    {
        self.leadership.check()?;
        let meta = read.meta();
        let patch = json!({
            "apiVersion": K::api_version(&()),
            "kind": K::kind(&()),
            "metadata": {"name": meta.name, "uid": meta.uid, "resourceVersion": meta.resource_version},
            "status": status,
        });
        let api = self.api::<K>(meta.namespace.as_deref());
        let parameters = PatchParams::apply(FIELD_MANAGER).force();
        let name = read.name_any();
        parse(
            within(
                self.deadline,
                api.patch_status(&name, &parameters, &Patch::Apply(patch)),
            )
            .await?,
        )
    }

    /// Deletes an object, if it still is the one that was read.
    ///
    /// # Errors
    /// A conflict when the object changed since it was read.
    pub async fn delete<K>(&self, read: &K) -> Result<(), CallError>
    where
        K: Object,
    {
        self.leadership.check()?;
        let preconditions = Preconditions {
            uid: read.meta().uid.clone(),
            resource_version: read.meta().resource_version.clone(),
        };
        let parameters = DeleteParams {
            preconditions: Some(preconditions),
            ..DeleteParams::default()
        };
        let api = self.api::<K>(read.meta().namespace.as_deref());
        within(self.deadline, api.delete(&read.name_any(), &parameters))
            .await
            .map(drop)
    }

    async fn patch<K: Object>(
        &self,
        api: &Api<DynamicObject>,
        name: &str,
        parameters: PatchParams,
        patch: &Patch<Value>,
    ) -> Result<K, CallError> {
        self.leadership.check()?;
        parse(within(self.deadline, api.patch(name, &parameters, patch)).await?)
    }

    /// The API of a kind, in a namespace if the object has one.
    fn api<K: Object>(&self, namespace: Option<&str>) -> Api<DynamicObject> {
        let resource = ApiResource::erase::<K>(&());
        match namespace {
            Some(namespace) => Api::namespaced_with(self.client.clone(), namespace, &resource),
            None => Api::all_with(self.client.clone(), &resource),
        }
    }
}

/// What the writer can write.
pub trait Object: Resource<DynamicType = ()> + Clone + DeserializeOwned + Debug {}

impl<K: Resource<DynamicType = ()> + Clone + DeserializeOwned + Debug> Object for K {}

fn parse<K: Object>(object: DynamicObject) -> Result<K, CallError> {
    Ok(serde_json::from_value(serde_json::to_value(object)?)?)
}
