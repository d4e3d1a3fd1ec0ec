//! The ends of the audit log's chain, in a ConfigMap of the system namespace. Reads and writes that one object.

use std::collections::BTreeMap;

use async_trait::async_trait;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::{
    Api,
    api::{ObjectMeta, PostParams},
};

use super::{Cluster, unavailable, within_deadline};
use crate::{
    domain::{
        audit_chain::{Anchor, Link, Start},
        failure::Failure,
        hexadecimal,
    },
    service::ports::Anchors,
};

/// The name of the ConfigMap.
const NAME: &str = "daap-audit-anchor";
const EXPIRED_BEFORE: &str = "expired-before";

/// The anchor, in a namespace.
pub struct AnchorMap {
    cluster: Cluster,
    namespace: String,
}

impl AnchorMap {
    /// The anchor in this namespace.
    pub fn new(cluster: Cluster, namespace: &str) -> Self {
        Self {
            cluster,
            namespace: namespace.to_owned(),
        }
    }

    fn api(&self) -> Api<ConfigMap> {
        Api::namespaced(self.cluster.client.clone(), &self.namespace)
    }
}

#[async_trait]
impl Anchors for AnchorMap {
    async fn read(&self) -> Result<Option<(Anchor, String)>, Failure> {
        let found = within_deadline(self.api().get_opt(NAME))
            .await
            .map_err(unavailable)?;
        let Some(map) = found else {
            return Ok(None);
        };
        let data = map.data.unwrap_or_default();
        let anchor = anchor(&data).ok_or_else(|| {
            Failure::internal(format!("the ConfigMap {NAME} does not hold an anchor"))
        })?;
        Ok(Some((
            anchor,
            map.metadata.resource_version.unwrap_or_default(),
        )))
    }

    async fn write(&self, anchor: &Anchor, version: Option<&str>) -> Result<bool, Failure> {
        let map = ConfigMap {
            metadata: ObjectMeta {
                name: Some(NAME.to_owned()),
                resource_version: version.map(str::to_owned),
                ..ObjectMeta::default()
            },
            data: Some(data(anchor)),
            ..ConfigMap::default()
        };
        let (api, params) = (self.api(), PostParams::default());
        let written = match version {
            Some(_) => within_deadline(api.replace(NAME, &params, &map)).await,
            None => within_deadline(api.create(&params, &map)).await,
        };
        match written {
            Ok(_) => Ok(true),
            Err(kube::Error::Api(status)) if status.is_conflict() || status.is_already_exists() => {
                Ok(false)
            }
            Err(error) => Err(unavailable(error)),
        }
    }
}

fn data(anchor: &Anchor) -> BTreeMap<String, String> {
    let links = [("start", anchor.start.link), ("head", anchor.head)];
    let mut data: BTreeMap<_, _> = links
        .into_iter()
        .flat_map(|(end, link)| {
            [
                (format!("{end}-sequence"), link.sequence.to_string()),
                (format!("{end}-row"), link.entry_id.to_string()),
                (format!("{end}-digest"), hexadecimal::encode(&link.digest)),
            ]
        })
        .collect();
    if let Some(time) = anchor.start.expired_before {
        data.insert(EXPIRED_BEFORE.to_owned(), time.to_string());
    }
    data
}

fn anchor(data: &BTreeMap<String, String>) -> Option<Anchor> {
    let link = |end: &str| {
        let value = |name: &str| data.get(&format!("{end}-{name}"));
        Some(Link {
            sequence: value("sequence")?.parse().ok()?,
            entry_id: value("row")?.parse().ok()?,
            digest: hexadecimal::decode(value("digest")?)?.try_into().ok()?,
        })
    };
    let expired_before = match data.get(EXPIRED_BEFORE) {
        Some(text) => Some(text.parse::<Timestamp>().ok()?),
        None => None,
    };
    Some(Anchor {
        start: Start {
            link: link("start")?,
            expired_before,
        },
        head: link("head")?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        let link = |sequence, byte| Link {
            sequence,
            entry_id: 2 * sequence,
            digest: [byte; 32],
        };
        for expired_before in [None, Some(Timestamp::from_second(1_700_000_000).unwrap())] {
            let kept = Anchor {
                start: Start {
                    link: link(3, 0xA5),
                    expired_before,
                },
                head: link(70, 7),
            };
            assert_eq!(anchor(&data(&kept)), Some(kept));
            let mut broken = data(&kept);
            broken.insert("head-digest".to_owned(), "xyz".to_owned());
            assert_eq!(anchor(&broken), None);
        }
    }
}
