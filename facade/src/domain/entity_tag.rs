//! Entity tags (RFC 9110 §8.8.3), and what `If-Match` and `If-None-Match` ask of them. Pure.
//!
//! A tag is `"<generation>-<resourceVersion>"` of a custom resource. The generation counts changes of what people ask
//! for; the resourceVersion also moves when a controller reports. So `If-Match` compares the generation alone: nobody
//! is refused because the state of a thing moved meanwhile. `If-None-Match` compares the whole tag: whoever waits for
//! a new state gets it.

use std::fmt;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use thiserror::Error;

use super::failure::{Code, Failure};

/// The tag of one state of a resource.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EntityTag {
    /// Counts the changes of what is asked for.
    pub generation: i64,
    /// Names the state that is stored.
    pub resource_version: String,
}

impl EntityTag {
    /// The tag of a resource; `None` for one that no API server has stored.
    pub fn of(metadata: &ObjectMeta) -> Option<Self> {
        Some(Self {
            generation: metadata.generation?,
            resource_version: metadata.resource_version.clone()?,
        })
    }
}

impl fmt::Display for EntityTag {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            formatter,
            "\"{}-{}\"",
            self.generation, self.resource_version
        )
    }
}

/// The text is no list of entity tags.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("must be '*', or entity tags in double quotes as an 'ETag' header gave them")]
pub struct NotEntityTags;

/// The value of `If-Match` or `If-None-Match`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EntityTags {
    /// `*`: any state.
    Any,
    /// One of these.
    Listed(Vec<Listed>),
}

/// One tag of a list: what is between the quotes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    weak: bool,
    opaque: String,
}

impl EntityTags {
    /// Reads the value of a header.
    ///
    /// # Errors
    /// [`NotEntityTags`] when a tag has no quotes, or there is none.
    pub fn parse(text: &str) -> Result<Self, NotEntityTags> {
        if text.trim() == "*" {
            return Ok(Self::Any);
        }
        let mut tags = Vec::new();
        let mut rest = text.trim();
        loop {
            let (weak, quoted) = match rest.strip_prefix("W/") {
                Some(quoted) => (true, quoted),
                None => (false, rest),
            };
            let (opaque, after) = quoted
                .strip_prefix('"')
                .and_then(|open| open.split_once('"'))
                .ok_or(NotEntityTags)?;
            tags.push(Listed {
                weak,
                opaque: opaque.to_owned(),
            });
            let after = after.trim_start();
            if after.is_empty() {
                return Ok(Self::Listed(tags));
            }
            rest = after.strip_prefix(',').ok_or(NotEntityTags)?.trim_start();
        }
    }

    /// Whether `If-Match` with this value lets a change happen to what is now `current`. A weak tag never does.
    pub fn permit_change_of(&self, current: &EntityTag) -> bool {
        match self {
            Self::Any => true,
            Self::Listed(tags) => tags
                .iter()
                .any(|tag| !tag.weak && tag.generation() == Some(current.generation)),
        }
    }

    /// Whether `If-None-Match` with this value says that the caller has `current` already.
    pub fn include(&self, current: &EntityTag) -> bool {
        match self {
            Self::Any => true,
            Self::Listed(tags) => {
                let current = current.to_string();
                tags.iter()
                    .any(|tag| current.trim_matches('"') == tag.opaque)
            }
        }
    }
}

impl Listed {
    fn generation(&self) -> Option<i64> {
        self.opaque.split_once('-')?.0.parse().ok()
    }
}

/// Refuses a change whose `If-Match` names another state than `current`.
///
/// # Errors
/// [`Code::PreconditionFailed`] with the current tag.
pub fn check_if_match(if_match: Option<&EntityTags>, current: &EntityTag) -> Result<(), Failure> {
    if if_match.is_none_or(|tags| tags.permit_change_of(current)) {
        return Ok(());
    }
    Err(Failure::new(
        Code::PreconditionFailed,
        "It was changed since the state that 'If-Match' names. Read it again, and decide whether your change still \
         fits.",
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn current() -> EntityTag {
        EntityTag {
            generation: 3,
            resource_version: "812".to_owned(),
        }
    }

    /// header → (If-Match permits the change, If-None-Match says that it is known)
    #[test]
    fn table() {
        let verdicts = |text: &str| {
            EntityTags::parse(text)
                .map(|tags| (tags.permit_change_of(&current()), tags.include(&current())))
        };
        for (text, verdict) in [
            ("*", Ok((true, true))),
            (r#""3-812""#, Ok((true, true))),
            // Only the state moved.
            (r#""3-811""#, Ok((true, false))),
            (r#""2-812""#, Ok((false, false))),
            // A weak tag is as good for a cache, and not good enough for a change.
            (r#"W/"3-812""#, Ok((false, true))),
            (r#""1-1" , W/"2-2","3-9""#, Ok((true, false))),
            (r#""somebody else's, with a comma""#, Ok((false, false))),
            (r#""""#, Ok((false, false))),
            ("", Err(NotEntityTags)),
            ("3-812", Err(NotEntityTags)),
            (r#""3-812"#, Err(NotEntityTags)),
            (r#""3-812","#, Err(NotEntityTags)),
            (r#""3-812" "2-1""#, Err(NotEntityTags)),
            (r#"w/"3-812""#, Err(NotEntityTags)),
        ] {
            assert_eq!(verdicts(text), verdict, "{text}");
        }
    }

    #[test]
    fn a_tag_names_its_own_state() {
        let tags = EntityTags::parse(&current().to_string()).unwrap();
        assert!(check_if_match(Some(&tags), &current()).is_ok());
        assert!(check_if_match(None, &current()).is_ok());
        let changed = EntityTag {
            generation: 4,
            ..current()
        };
        let refused = check_if_match(Some(&tags), &changed).unwrap_err();
        assert_eq!(refused.code, Code::PreconditionFailed);
    }
}
