//! Sends a profile as its name. Decoding finds it among the policy's profiles.

use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serializer};

use crate::model::profile::Profile;

pub fn serialize<S: Serializer>(profile: &Arc<Profile>, to: S) -> Result<S::Ok, S::Error> {
    to.serialize_str(&profile.name)
}

pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Arc<Profile>, D::Error> {
    let name = String::deserialize(from)?;
    Ok(Arc::new(Profile {
        name,
        ..Profile::strict()
    }))
}
