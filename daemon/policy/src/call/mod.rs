pub(crate) mod bind;
pub(crate) mod env;
pub(crate) mod request;
pub(crate) mod subject;
pub(crate) mod value;
pub(crate) mod variables;
