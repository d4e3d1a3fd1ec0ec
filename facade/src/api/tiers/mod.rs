//! The operations about tiers: guarantees for everybody, definitions for platform teams.
//!
//! | module | subject |
//! |---|---|
//! | [`shown`] | a tier as an answer |
//! | [`definition`] | a tier as a request, and the platform's part of an answer |
//! | [`conversion`] | definitions and the specs of resources |

pub mod conversion;
pub mod definition;
pub mod shown;

use std::sync::Arc;

use daap_crds::DaapTierSpec;
use poem::web::Data;
use poem_openapi::{
    ApiResponse, Object, OpenApi,
    param::{Path, Query},
    payload::Json,
};

use self::{
    definition::{NewTier, TierChange},
    shown::{Tier, TierList},
};
use super::{
    Group, body::Body, caller::Caller, entity_tag::Condition, merge_patch::MergePatch,
    problem::problems, staleness::stale_seconds,
};
use crate::{
    domain::{entity_tag::EntityTag, tier::Deletion},
    service::{Service, change::Terms},
};

/// The operations about tiers.
pub struct Tiers;

/// A found tier.
#[derive(ApiResponse)]
pub enum Found {
    /// The tier.
    #[oai(status = 200)]
    Tier(
        Json<Box<Tier>>,
        /// The tag of this state of the tier.
        #[oai(header = "ETag")]
        Option<EntityTag>,
        /// For how many seconds the cluster was not heard, when this answer may be out of date.
        #[oai(header = "Daap-Stale-Seconds")]
        Option<u64>,
    ),
    /// The tier is still in the state that 'If-None-Match' names.
    #[oai(status = 304)]
    Unchanged(
        /// The tag of this state of the tier.
        #[oai(header = "ETag")]
        Option<EntityTag>,
        /// For how many seconds the cluster was not heard, when this answer may be out of date.
        #[oai(header = "Daap-Stale-Seconds")]
        Option<u64>,
    ),
}

/// Found tiers.
#[derive(ApiResponse)]
pub enum Listed {
    /// Every tier.
    #[oai(status = 200)]
    Tiers(
        Json<TierList>,
        /// For how many seconds the cluster was not heard, when this answer may be out of date.
        #[oai(header = "Daap-Stale-Seconds")]
        Option<u64>,
    ),
}

/// A created tier.
#[derive(ApiResponse)]
pub enum Created {
    /// The tier exists. Databases can be created on it as soon as it is available.
    #[oai(status = 201)]
    Tier(
        Json<Box<Tier>>,
        /// The path of the tier.
        #[oai(header = "Location")]
        String,
        /// The tag of this state of the tier.
        #[oai(header = "ETag")]
        Option<EntityTag>,
    ),
    /// The tier as it would be created; nothing was.
    #[oai(status = 200)]
    Tried(Json<Box<Tier>>),
}

/// A changed tier.
#[derive(ApiResponse)]
pub enum Changed {
    /// The tier as it is now, or as it would be after a dry run.
    #[oai(status = 200)]
    Tier(
        Json<Box<Tier>>,
        /// The tag of the state of the tier; after a dry run, of the state that it is still in.
        #[oai(header = "ETag")]
        Option<EntityTag>,
    ),
}

/// A tier that is about to go.
#[derive(Debug, Object)]
pub struct TierDeletion {
    /// Identifies the tier; the same as its name.
    #[oai(validator(max_length = 40))]
    id: String,
    /// What happens to it.
    #[oai(validator(max_length = 400))]
    detail: String,
}

/// A deleted tier.
#[derive(ApiResponse)]
pub enum Deleted {
    /// The tier is gone, or would be without the dry run.
    #[oai(status = 204)]
    Gone,
    /// The tier is being deleted, or would be without the dry run. It goes when what belongs to it has been cleared
    /// up, and no database can be created on it any more.
    #[oai(status = 202)]
    Leaving(Json<TierDeletion>),
}

problems! {
    /// How listing tiers fails.
    ListProblem: 500
}
problems! {
    /// How reading a tier fails.
    GetProblem: 404
}
problems! {
    /// How creating a tier fails.
    CreateProblem: 409 422
}
problems! {
    /// How changing a tier fails.
    ChangeProblem: 404 409 412 422
}
problems! {
    /// How deleting a tier fails.
    DeleteProblem: 404 409 412
}

#[OpenApi(tag = "Group::Tiers")]
impl Tiers {
    /// List tiers
    ///
    /// Lists what there is to choose from, with what each tier guarantees.
    #[oai(path = "/tiers", method = "get", operation_id = "listTiers")]
    async fn list(
        &self,
        caller: Caller,
        service: Data<&Arc<Service>>,
    ) -> Result<Listed, ListProblem> {
        let stale = stale_seconds(&service)?;
        let tiers = service.tiers().await?;
        let items = tiers
            .into_iter()
            .map(|tier| Tier::shown_to(caller.actor.role, tier))
            .collect();
        Ok(Listed::Tiers(Json(TierList { items }), stale))
    }

    /// Get a tier
    ///
    /// Shows what one tier guarantees; platform teams also see how it is defined.
    #[oai(path = "/tiers/:id", method = "get", operation_id = "getTier")]
    async fn get(
        &self,
        caller: Caller,
        service: Data<&Arc<Service>>,
        /// The name of the tier.
        #[oai(validator(max_length = 64))]
        id: Path<String>,
        /// Answer only when the tier is in another state than these tags name.
        #[oai(name = "If-None-Match")]
        if_none_match: Condition,
    ) -> Result<Found, GetProblem> {
        let stale = stale_seconds(&service)?;
        let tier = service.tier(&id.0).await?;
        let tag = tier.tag.clone();
        if if_none_match.says_known(tag.as_ref()) {
            return Ok(Found::Unchanged(tag, stale));
        }
        let shown = Tier::shown_to(caller.actor.role, tier);
        Ok(Found::Tier(Json(Box::new(shown)), tag, stale))
    }

    /// Create a tier
    ///
    /// Adds an entry to the menu. Only platform teams can. A definition that breaks a rule, or that no database could
    /// be served with, is refused by field. Databases can be created on the tier as soon as it is shown as available,
    /// moments later.
    #[oai(path = "/tiers", method = "post", operation_id = "createTier")]
    async fn create(
        &self,
        caller: Caller,
        service: Data<&Arc<Service>>,
        /// Only try it out: all checks, and no effect.
        #[oai(default)]
        dry_run: Query<bool>,
        body: Body<NewTier>,
    ) -> Result<Created, CreateProblem> {
        let Body(NewTier {
            name,
            description,
            definition,
        }) = body;
        let content = TierChange {
            description,
            definition,
        };
        let terms = Terms {
            intent: caller.intent,
            if_match: None,
            dry_run: dry_run.0,
        };
        let tier = service
            .create_tier(&name, content.into_spec()?, &terms)
            .await?;
        let (location, tag) = (format!("/tiers/{}", tier.name), tier.tag.clone());
        let shown = Json(Box::new(Tier::shown_to(caller.actor.role, tier)));
        Ok(if terms.dry_run {
            Created::Tried(shown)
        } else {
            Created::Tier(shown, location, tag)
        })
    }

    /// Change a tier
    ///
    /// Changes what is mentioned and leaves the rest (JSON merge patch, RFC 7396; null removes). Only platform teams
    /// can. The change is for databases that are created afterwards: existing ones keep what they were created with
    /// until they are migrated.
    #[oai(path = "/tiers/:id", method = "patch", operation_id = "changeTier")]
    async fn change(
        &self,
        caller: Caller,
        service: Data<&Arc<Service>>,
        /// The name of the tier.
        #[oai(validator(max_length = 64))]
        id: Path<String>,
        /// Only try it out: all checks, and no effect.
        #[oai(default)]
        dry_run: Query<bool>,
        /// Change the tier only when its definition is still the one of the state that one of these tags names.
        #[oai(name = "If-Match")]
        if_match: Condition,
        body: MergePatch<TierChange>,
    ) -> Result<Changed, ChangeProblem> {
        let terms = Terms {
            intent: caller.intent,
            if_match: if_match.0,
            dry_run: dry_run.0,
        };
        let change = |spec: DaapTierSpec| body.applied_to(&spec.into())?.into_spec();
        let tier = service.change_tier(&id.0, &change, &terms).await?;
        let tag = tier.tag.clone();
        let shown = Tier::shown_to(caller.actor.role, tier);
        Ok(Changed::Tier(Json(Box::new(shown)), tag))
    }

    /// Delete a tier
    ///
    /// Removes an entry from the menu. Only platform teams can, and only when no database needs the tier: the answer
    /// otherwise tells how many do, and in which status they are. Frozen and archived databases need their tier too.
    #[oai(path = "/tiers/:id", method = "delete", operation_id = "deleteTier")]
    async fn delete(
        &self,
        caller: Caller,
        service: Data<&Arc<Service>>,
        /// The name of the tier.
        #[oai(validator(max_length = 64))]
        id: Path<String>,
        /// Only try it out: all checks, and no effect.
        #[oai(default)]
        dry_run: Query<bool>,
        /// Delete the tier only when its definition is still the one of the state that one of these tags names.
        #[oai(name = "If-Match")]
        if_match: Condition,
    ) -> Result<Deleted, DeleteProblem> {
        let terms = Terms {
            intent: caller.intent,
            if_match: if_match.0,
            dry_run: dry_run.0,
        };
        Ok(match service.delete_tier(&id.0, &terms).await? {
            Deletion::Gone => Deleted::Gone,
            Deletion::Leaving => Deleted::Leaving(Json(TierDeletion {
                id: id.0,
                detail: "The tier goes as soon as its revisions have been cleared up, usually within moments. No \
                         database can be created on it any more."
                    .to_owned(),
            })),
        })
    }
}
