//! NetworkPolicies: everything is denied but what these allow. Pure.
//!
//! Policies add up, and an allowed connection needs both ends to allow it. Pods of the operator, of DAAP and of the
//! teams are outside of the namespace; how they are kept is for their own namespaces to say.

use daap_crds::{cnpg, label};
use k8s_openapi::{
    api::networking::v1::{
        IPBlock, NetworkPolicy, NetworkPolicyEgressRule, NetworkPolicyIngressRule,
        NetworkPolicyPeer, NetworkPolicyPort, NetworkPolicySpec,
    },
    apimachinery::pkg::{
        apis::meta::v1::{LabelSelector, LabelSelectorRequirement, ObjectMeta},
        util::intstr::IntOrString,
    },
};

use super::{
    super::plan::{Desired, Identity},
    metadata,
};
use crate::settings::{Network, Settings};

/// The name of the policy that denies, one for a namespace.
pub const DEFAULT_DENY: &str = "daap-default-deny";
/// PostgreSQL and PgBouncer.
const POSTGRES: u16 = 5432;
/// CloudNativePG's instance manager: status and probes.
const INSTANCE_MANAGER: u16 = 8000;
/// DNS.
const DNS: u16 = 53;
/// What hands out the credentials of a role, by plain HTTP on the node itself.
const HTTP: u16 = 80;
/// The metadata service of the node, and the agent for roles of pods; both have these addresses in every AWS network.
/// Roles by web identity come from a service with a name, and are asked for like the object store.
const ROLE_SERVICES: [&str; 2] = ["169.254.169.254/32", "169.254.170.23/32"];
/// A label of the controller's own pods.
const CONTROLLER: (&str, &str) = ("app.kubernetes.io/name", "daap-controller");
/// The label every namespace has, with its name.
const NAMESPACE_NAME: &str = "kubernetes.io/metadata.name";

/// Denies everything: to all pods of a namespace that is for databases only, elsewhere to the pods of databases.
pub(super) fn build_default_deny(identity: &Identity) -> NetworkPolicy {
    let selected = if identity.namespace_is_dedicated() {
        LabelSelector::default()
    } else {
        requirement(label::DATABASE, "Exists", &[])
    };
    NetworkPolicy {
        // It belongs to no single database, so it does not carry the name of one.
        metadata: ObjectMeta {
            name: Some(DEFAULT_DENY.to_owned()),
            namespace: Some(identity.namespace.clone()),
            labels: Some(
                [(
                    label::MANAGED_BY.to_owned(),
                    label::MANAGED_BY_DAAP.to_owned(),
                )]
                .into(),
            ),
            ..ObjectMeta::default()
        },
        spec: Some(policy(selected, Vec::new(), Vec::new())),
    }
}

/// What instances, and the Jobs that prepare them, may do.
pub(super) fn build_instance_policy(desired: &Desired, settings: &Settings) -> NetworkPolicy {
    let identity = &desired.identity;
    let network = &settings.network;
    let mut ingress = vec![
        from(vec![operator(settings)], tcp(&[INSTANCE_MANAGER, POSTGRES])),
        from(
            vec![pods(instances(identity))],
            tcp(&[INSTANCE_MANAGER, POSTGRES]),
        ),
        from(vec![controller(settings)], tcp(&[POSTGRES])),
        from(vec![applications(identity)], tcp(&[POSTGRES])),
    ];
    if desired.template.pooling.is_some() {
        ingress.push(from(vec![pods(pooler(identity))], tcp(&[POSTGRES])));
    }
    if !network.node_cidrs.is_empty() {
        ingress.push(from(blocks(&network.node_cidrs), tcp(&[INSTANCE_MANAGER])));
    }
    let mut egress = vec![
        to(
            vec![pods(instances(identity))],
            tcp(&[INSTANCE_MANAGER, POSTGRES]),
        ),
        dns(network),
        api_server(network),
    ];
    if let Some(store) = &desired.store {
        let mut ports = network.object_store_ports.clone();
        ports.push(store.endpoint_port());
        ports.sort_unstable();
        ports.dedup();
        egress.push(to(blocks(&network.object_store_cidrs), tcp(&ports)));
        if store.spec.credentials.inherit_from_iam_role == Some(true) {
            egress.push(to(blocks(&ROLE_SERVICES.map(str::to_owned)), tcp(&[HTTP])));
        }
    }
    NetworkPolicy {
        metadata: metadata(identity, instance_policy_name(identity)),
        spec: Some(policy(instances(identity), ingress, egress)),
    }
}

/// The name of the policy for instances. Its ending keeps it apart from [`DEFAULT_DENY`], whatever a database is called.
pub fn instance_policy_name(identity: &Identity) -> String {
    format!("{}-instances", identity.name)
}

/// What the pooler may do.
pub(super) fn build_pooler_policy(identity: &Identity, network: &Network) -> NetworkPolicy {
    let mut ingress = vec![from(vec![applications(identity)], tcp(&[POSTGRES]))];
    if !network.node_cidrs.is_empty() {
        ingress.push(from(blocks(&network.node_cidrs), tcp(&[POSTGRES])));
    }
    let egress = vec![
        to(vec![pods(instances(identity))], tcp(&[POSTGRES])),
        dns(network),
        api_server(network),
    ];
    NetworkPolicy {
        metadata: metadata(identity, identity.name.pooler()),
        spec: Some(policy(pooler(identity), ingress, egress)),
    }
}

fn policy(
    pod_selector: LabelSelector,
    ingress: Vec<NetworkPolicyIngressRule>,
    egress: Vec<NetworkPolicyEgressRule>,
) -> NetworkPolicySpec {
    NetworkPolicySpec {
        pod_selector: Some(pod_selector),
        ingress: Some(ingress).filter(|rules| !rules.is_empty()),
        egress: Some(egress).filter(|rules| !rules.is_empty()),
        policy_types: Some(vec!["Ingress".to_owned(), "Egress".to_owned()]),
    }
}

/// The Cluster's pods but for its poolers. Jobs have no role, so the role cannot be asked for, only excluded.
fn instances(identity: &Identity) -> LabelSelector {
    LabelSelector {
        match_labels: Some([(cnpg::label::CLUSTER.to_owned(), identity.name.cluster())].into()),
        ..requirement(cnpg::label::POD_ROLE, "NotIn", &[cnpg::label::ROLE_POOLER])
    }
}

fn pooler(identity: &Identity) -> LabelSelector {
    labels([(cnpg::label::POOLER_NAME.to_owned(), identity.name.pooler())])
}

fn operator(settings: &Settings) -> NetworkPolicyPeer {
    pods_of(&settings.operator_namespace, cnpg::label::OPERATOR)
}

fn controller(settings: &Settings) -> NetworkPolicyPeer {
    pods_of(&settings.system_namespace, CONTROLLER)
}

/// All pods of the namespaces that the owning team's applications run in.
fn applications(identity: &Identity) -> NetworkPolicyPeer {
    let namespaces = labels([(label::TEAM.to_owned(), identity.team.to_string())]);
    NetworkPolicyPeer {
        namespace_selector: Some(namespaces),
        ..NetworkPolicyPeer::default()
    }
}

fn dns(network: &Network) -> NetworkPolicyEgressRule {
    let peer = NetworkPolicyPeer {
        namespace_selector: Some(labels([(
            NAMESPACE_NAME.to_owned(),
            network.dns_namespace.clone(),
        )])),
        pod_selector: Some(LabelSelector {
            match_labels: Some(network.dns_selector.to_map()),
            match_expressions: None,
        }),
        ip_block: None,
    };
    to(vec![peer], vec![port("UDP", DNS), port("TCP", DNS)])
}

/// Instances and poolers ask the API server what they are; without it they neither start nor fail over.
fn api_server(network: &Network) -> NetworkPolicyEgressRule {
    to(
        blocks(&network.api_server_cidrs),
        tcp(&network.api_server_ports),
    )
}

fn pods(selector: LabelSelector) -> NetworkPolicyPeer {
    NetworkPolicyPeer {
        pod_selector: Some(selector),
        ..NetworkPolicyPeer::default()
    }
}

fn pods_of(namespace: &str, (key, value): (&str, &str)) -> NetworkPolicyPeer {
    NetworkPolicyPeer {
        namespace_selector: Some(labels([(NAMESPACE_NAME.to_owned(), namespace.to_owned())])),
        pod_selector: Some(labels([(key.to_owned(), value.to_owned())])),
        ip_block: None,
    }
}

fn blocks(cidrs: &[String]) -> Vec<NetworkPolicyPeer> {
    let block = |cidr: &String| NetworkPolicyPeer {
        ip_block: Some(IPBlock {
            cidr: cidr.clone(),
            except: None,
        }),
        ..NetworkPolicyPeer::default()
    };
    cidrs.iter().map(block).collect()
}

fn labels<const N: usize>(pairs: [(String, String); N]) -> LabelSelector {
    LabelSelector {
        match_labels: Some(pairs.into()),
        match_expressions: None,
    }
}

fn requirement(key: &str, operator: &str, values: &[&str]) -> LabelSelector {
    let requirement = LabelSelectorRequirement {
        key: key.to_owned(),
        operator: operator.to_owned(),
        values: Some(values.iter().map(ToString::to_string).collect())
            .filter(|values: &Vec<_>| !values.is_empty()),
    };
    LabelSelector {
        match_labels: None,
        match_expressions: Some(vec![requirement]),
    }
}

fn from(peers: Vec<NetworkPolicyPeer>, ports: Vec<NetworkPolicyPort>) -> NetworkPolicyIngressRule {
    NetworkPolicyIngressRule {
        from: Some(peers),
        ports: Some(ports),
    }
}

fn to(peers: Vec<NetworkPolicyPeer>, ports: Vec<NetworkPolicyPort>) -> NetworkPolicyEgressRule {
    NetworkPolicyEgressRule {
        to: Some(peers),
        ports: Some(ports),
    }
}

fn tcp(ports: &[u16]) -> Vec<NetworkPolicyPort> {
    ports.iter().map(|number| port("TCP", *number)).collect()
}

fn port(protocol: &str, number: u16) -> NetworkPolicyPort {
    NetworkPolicyPort {
        protocol: Some(protocol.to_owned()),
        port: Some(IntOrString::Int(i32::from(number))),
        end_port: None,
    }
}
