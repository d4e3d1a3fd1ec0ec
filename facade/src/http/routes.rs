//! Which operation of the contract a request is for. Pure.
//!
//! Built from the contract and the policy, so that a path exists exactly when the contract says so, and an operation
//! that needs a key exists only with a line in the policy.

use thiserror::Error;

use crate::{
    api::{contract::Operation, pattern},
    domain::{
        failure::{Code, Failure},
        policy::{Rule, rule_of},
    },
};

/// An operation needs a key, and the policy does not know it.
#[derive(Debug, Error)]
#[error("the operation '{0}' has no line in the policy")]
pub struct UnknownToPolicy(String);

/// One operation.
pub struct Route {
    /// The operation of the contract.
    pub operation: Operation,
    /// Its line in the policy. Absent: it needs no key.
    pub rule: Option<&'static Rule>,
}

/// Every operation.
pub struct Routes(Vec<Route>);

impl Routes {
    /// The routes of these operations.
    ///
    /// # Errors
    /// When one of them needs a key and the policy does not know it.
    pub fn new(operations: Vec<Operation>) -> Result<Self, UnknownToPolicy> {
        let route = |operation: Operation| match (operation.secured, rule_of(&operation.id)) {
            (true, None) => Err(UnknownToPolicy(operation.id)),
            (true, rule) => Ok(Route { operation, rule }),
            (false, _) => Ok(Route {
                operation,
                rule: None,
            }),
        };
        operations
            .into_iter()
            .map(route)
            .collect::<Result<_, _>>()
            .map(Self)
    }

    /// The operation for a request, and the id in its path.
    pub fn find<'a>(
        &self,
        method: &str,
        path: &'a str,
    ) -> Result<(&Route, Option<&'a str>), Failure> {
        let mut known = false;
        for route in &self.0 {
            if let Some(id) = matched(&route.operation.path, path) {
                if route.operation.method == method {
                    return Ok((route, id));
                }
                known = true;
            }
        }
        if known {
            let allowed = self.methods(path);
            return Err(Failure::new(
                Code::MethodNotAllowed,
                format!("This path answers to {allowed}."),
            ));
        }
        Err(Failure::new(
            Code::NotFound,
            "There is nothing at this path.",
        ))
    }

    /// The methods that a path answers to, as in an `Allow` header.
    pub fn methods(&self, path: &str) -> String {
        let matching = self
            .0
            .iter()
            .filter(|route| matched(&route.operation.path, path).is_some());
        let mut methods: Vec<_> = matching
            .map(|route| route.operation.method.as_str())
            .collect();
        methods.sort_unstable();
        methods.join(", ")
    }
}

impl Route {
    /// Refuses query parameters that the operation does not know, ones that are given twice, and control characters.
    pub fn check_parameters(&self, query: Option<&str>) -> Result<(), Failure> {
        let mut seen = Vec::new();
        for pair in query
            .unwrap_or_default()
            .split('&')
            .filter(|pair| !pair.is_empty())
        {
            let name = pair.split_once('=').map_or(pair, |(name, _)| name);
            if !self.operation.parameters.iter().any(|known| known == name) {
                let known = if self.operation.parameters.is_empty() {
                    "none".to_owned()
                } else {
                    self.operation.parameters.join(", ")
                };
                return Err(Failure::parameter(
                    name,
                    format!("is not known here; known: {known}"),
                ));
            }
            if seen.contains(&name) {
                return Err(Failure::parameter(name, "is given twice"));
            }
            if encodes_control_character(pair) {
                return Err(Failure::parameter(name, pattern::in_words(pattern::TEXT)));
            }
            seen.push(name);
        }
        Ok(())
    }
}

/// Whether percent-encoded text has a character that [`pattern::TEXT`] excludes; a query can hold none as it is.
fn encodes_control_character(text: &str) -> bool {
    let encoded = text.split('%').skip(1).filter_map(|rest| rest.get(..2));
    encoded
        .filter_map(|digits| u8::from_str_radix(digits, 16).ok())
        .any(|byte| byte.is_ascii_control() && !b"\t\n\r".contains(&byte))
}

/// Whether the path fits the template, and what stands in the place of its parameter.
fn matched<'a>(template: &str, path: &'a str) -> Option<Option<&'a str>> {
    let mut id = None;
    let (mut wanted, mut given) = (template.split('/'), path.split('/'));
    loop {
        match (wanted.next(), given.next()) {
            (None, None) => return Some(id),
            (Some(parameter), Some(value)) if parameter.starts_with('{') && !value.is_empty() => {
                id = Some(value)
            }
            (Some(literal), Some(value)) if literal == value => {}
            _ => return None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::contract::Contract;

    fn routes() -> Routes {
        Routes::new(Contract::generate().unwrap().operations()).unwrap()
    }

    #[test]
    fn finds_operations() {
        let routes = routes();
        let (route, id) = routes.find("GET", "/databases/abc").unwrap();
        assert_eq!(
            (route.operation.id.as_str(), id),
            ("getDatabase", Some("abc"))
        );
        assert_eq!(
            routes.find("POST", "/databases").unwrap().0.operation.id,
            "createDatabase"
        );
        assert_eq!(
            routes
                .find("PUT", "/databases")
                .map(|_| ())
                .unwrap_err()
                .code,
            Code::MethodNotAllowed
        );
        assert_eq!(routes.methods("/databases"), "GET, POST");
        for unknown in [
            "/",
            "",
            "/databases/",
            "/databases/a/b",
            "/Databases",
            "//databases",
            "/database",
        ] {
            assert_eq!(
                routes.find("GET", unknown).map(|_| ()).unwrap_err().code,
                Code::NotFound,
                "{unknown}"
            );
        }
    }

    #[test]
    fn an_operation_without_a_policy_does_not_start() {
        let mut operations = Contract::generate().unwrap().operations();
        operations[0].secured = true;
        operations[0].id = "forgotten".to_owned();
        assert!(Routes::new(operations).is_err());
    }

    #[test]
    fn refuses_unknown_parameters() {
        let routes = routes();
        let (list, _) = routes.find("GET", "/databases").unwrap();
        assert!(list.check_parameters(None).is_ok());
        assert!(
            list.check_parameters(Some("limit=3&tier=dev&q=%C2%A9%0a%"))
                .is_ok()
        );
        for bad in [
            "sort=name",
            "limit=1&limit=2",
            "Limit=1",
            "limit%5B%5D=1",
            "q=a%00",
            "q=%7f",
        ] {
            assert_eq!(
                list.check_parameters(Some(bad)).unwrap_err().code,
                Code::InvalidParameter,
                "{bad}"
            );
        }
    }
}
