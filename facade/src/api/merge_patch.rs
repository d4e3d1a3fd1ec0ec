//! A change as a JSON merge patch (RFC 7396), judged by the contract twice: the patch alone, so that a field that does
//! not exist is told even when it is to be removed, and then what comes of it.

use std::{marker::PhantomData, sync::Arc};

use poem::{Request, RequestBody};
use poem_openapi::{
    ApiExtractor, ApiExtractorType, ExtractParamOptions,
    registry::{MetaMediaType, MetaRequest, Registry},
    types::{ParseFromJSON, ToJSON, Type},
};
use serde_json::Value;

use super::{
    body::{self, JSON},
    contract::Contract,
    problem,
};
use crate::domain::{
    failure::{Code, Failure},
    merge_patch::merged,
};

/// The media type of merge patches.
pub const MERGE_PATCH: &str = "application/merge-patch+json";

/// A change of a `T`, which has what of a thing can be changed. In the contract, the schema named like `T` becomes
/// that of the patch: see [`super::patch_schema`].
pub struct MergePatch<T> {
    patch: Value,
    contract: Arc<Contract>,
    thing: PhantomData<fn(T) -> T>,
}

impl<T: ParseFromJSON + ToJSON> MergePatch<T> {
    /// What the change makes of what is there now.
    ///
    /// # Errors
    /// When that is not what the contract wants.
    pub fn applied_to(&self, current: &T) -> Result<T, Failure> {
        let current = current.to_json().unwrap_or_default();
        let changed = body::parse(&self.contract, merged(current, &self.patch));
        // The patch is well-formed, which has been checked: what comes of it breaks a rule.
        changed.map_err(|failure| match failure.code {
            Code::MalformedBody => Failure::invalid(failure.errors),
            _ => failure,
        })
    }
}

impl<'a, T: ParseFromJSON + Type> ApiExtractor<'a> for MergePatch<T> {
    const TYPES: &'static [ApiExtractorType] = &[ApiExtractorType::RequestObject];
    type ParamType = ();
    type ParamRawType = ();

    fn register(registry: &mut Registry) {
        T::register(registry);
    }

    fn request_meta() -> Option<MetaRequest> {
        let content = [MERGE_PATCH, JSON].map(|content_type| MetaMediaType {
            content_type,
            schema: T::schema_ref(),
        });
        Some(MetaRequest {
            description: None,
            content: content.into(),
            required: true,
        })
    }

    async fn from_request(
        request: &'a Request,
        body: &mut RequestBody,
        _options: ExtractParamOptions<Self::ParamType>,
    ) -> poem::Result<Self> {
        let patch = body::read(request, body, &[MERGE_PATCH, JSON]).await?;
        let contract = body::contract(request).map_err(problem::error)?;
        check::<T>(contract, &patch).map_err(problem::error)?;
        Ok(Self {
            patch,
            contract: contract.clone(),
            thing: PhantomData,
        })
    }
}

/// A null removes: what speaks against it is told about what comes of it.
fn check<T: Type>(contract: &Contract, patch: &Value) -> Result<(), Failure> {
    let rules = contract
        .patch_rules(&T::name())
        .ok_or_else(|| Failure::internal("a patch has no schema in the contract"))?;
    let is_body = |error: &jsonschema::ValidationError<'_>| {
        error.instance_path().as_str().is_empty() || !error.instance().is_null()
    };
    body::judge(rules.iter_errors(patch).filter(is_body))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::api::tiers::definition::TierChange;

    fn current() -> TierChange {
        let current = json!({
            "description": "Small.",
            "definition": {
                "postgres": {"major": 17, "image": "postgresql:17"}, "compute": {"cpu": "1", "memory": "1Gi"},
                "storage": {"size": "1Gi", "class": "fast"}, "destruction": {"strategy": "hard"},
            }
        });
        TierChange::parse_from_json(Some(current)).unwrap()
    }

    fn apply(patch: Value) -> Result<Value, (Code, Vec<String>)> {
        let contract = Arc::new(Contract::generate().unwrap());
        let outcome = check::<TierChange>(&contract, &patch).and_then(|()| {
            let patch = MergePatch {
                patch,
                contract,
                thing: PhantomData,
            };
            patch.applied_to(&current())
        });
        outcome
            .map(|changed: TierChange| changed.to_json().unwrap())
            .map_err(|failure| {
                let pointers = failure.errors.into_iter().map(|error| error.pointer);
                (failure.code, pointers.collect())
            })
    }

    #[test]
    fn what_is_not_mentioned_stays() {
        let changed = apply(json!({"definition": {"compute": {"cpu": "2"}}})).unwrap();
        assert_eq!(
            changed["definition"]["compute"],
            json!({"cpu": "2", "memory": "1Gi"})
        );
        assert_eq!(changed["description"], "Small.");
        assert_eq!(apply(json!({})).unwrap(), current().to_json().unwrap());
    }

    #[test]
    fn null_removes_what_can_be_absent() {
        let changed = apply(json!({"definition": {"storage": {"class": null}, "backup": null}}));
        assert_eq!(
            changed.unwrap()["definition"]["storage"],
            json!({"size": "1Gi"})
        );
        let required = apply(json!({"definition": {"storage": null}})).unwrap_err();
        assert_eq!(
            required,
            (Code::InvalidFields, vec!["/definition/storage".to_owned()])
        );
    }

    #[test]
    fn mistakes_are_told_by_field() {
        for (patch, code, pointer) in [
            (json!([]), Code::MalformedBody, ""),
            (json!(null), Code::MalformedBody, ""),
            (json!({"name": "other"}), Code::MalformedBody, "/name"),
            (
                json!({"descripton": null}),
                Code::MalformedBody,
                "/descripton",
            ),
            (
                json!({"definition": {"storage": {"walSize": null}}}),
                Code::MalformedBody,
                "/definition/storage/walSize",
            ),
            (
                json!({"definition": {"compute": {"cpu": 2}}}),
                Code::MalformedBody,
                "/definition/compute/cpu",
            ),
            (
                json!({"definition": {"compute": {"cpu": "2.5"}}}),
                Code::InvalidFields,
                "/definition/compute/cpu",
            ),
            (
                json!({"definition": {"pooling": {"mode": "session"}}}),
                Code::InvalidFields,
                "/definition/pooling/max_client_connections",
            ),
        ] {
            let (got, pointers) = apply(patch.clone()).unwrap_err();
            assert_eq!(got, code, "{patch}");
            assert!(
                pointers.contains(&pointer.to_owned()),
                "{patch}: {pointers:?}"
            );
        }
    }
}
