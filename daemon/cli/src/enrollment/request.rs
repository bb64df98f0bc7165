//! What `remit enroll` is to do.

use std::path::Path;

use super::expiry::Expires;
use super::key::PublicKey;
use super::name::Name;

#[derive(Debug)]
pub struct Request<'a> {
    pub name: &'a Name,
    pub group: &'a Name,
    pub key: &'a PublicKey,
    /// `None` keeps the current expiry.
    pub expires: Option<&'a Expires>,
    pub state: &'a Path,
}
