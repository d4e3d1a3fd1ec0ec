//! The namespaces of teams. Reads and creates Namespaces.

use daap_crds::{label, name::TeamName};
use k8s_openapi::api::core::v1::Namespace;
use kube::{
    Api, ResourceExt as _,
    api::{ObjectMeta, PostParams},
};

use super::{Cluster, unavailable, within_deadline};
use crate::domain::failure::{Code, Failure};

impl Cluster {
    /// Makes the team's namespace where it is missing.
    ///
    /// A namespace of that name without the team's label was made by somebody else for something else: nothing is
    /// placed in it until the platform labels it.
    pub(super) async fn ensure_namespace(&self, team: &TeamName) -> Result<(), Failure> {
        let namespaces: Api<Namespace> = Api::all(self.client.clone());
        let name = team.namespace();
        if let Some(found) = within_deadline(namespaces.get_opt(&name))
            .await
            .map_err(unavailable)?
        {
            return check_owner(&found, team);
        }
        match within_deadline(namespaces.create(&PostParams::default(), &namespace(team))).await {
            Ok(_) => Ok(()),
            // Another request was faster.
            Err(kube::Error::Api(status)) if status.is_already_exists() => check_owner(
                &within_deadline(namespaces.get(&name))
                    .await
                    .map_err(unavailable)?,
                team,
            ),
            Err(error) => Err(unavailable(error)),
        }
    }
}

fn namespace(team: &TeamName) -> Namespace {
    let labels = [
        (label::TEAM, team.as_str()),
        (label::MANAGED_BY, label::MANAGED_BY_DAAP),
    ];
    Namespace {
        metadata: ObjectMeta {
            name: Some(team.namespace()),
            labels: Some(
                labels
                    .map(|(key, value)| (key.to_owned(), value.to_owned()))
                    .into(),
            ),
            ..ObjectMeta::default()
        },
        ..Namespace::default()
    }
}

fn check_owner(namespace: &Namespace, team: &TeamName) -> Result<(), Failure> {
    if namespace
        .labels()
        .get(label::TEAM)
        .is_some_and(|owner| owner == team.as_str())
    {
        return Ok(());
    }
    let detail = format!(
        "The place for the databases of team '{team}' exists already and is not marked as theirs. The platform team can \
         mark it with the label {}={team}.",
        label::TEAM
    );
    Err(Failure::new(Code::NamespaceConflict, detail))
}
