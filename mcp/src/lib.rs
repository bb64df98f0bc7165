//! What the MCP servers on standard input and output share.
#![forbid(unsafe_code)]

mod behalf;
pub mod jsonrpc;
pub mod lines;
pub mod output;
pub mod readable_id;
pub mod unique;

mod server {
    //! How a server names itself.

    use remit_common::RELEASE;
    use rmcp::RoleServer;
    use rmcp::model::{Implementation, MetaObject, ProtocolVersion};
    use rmcp::service::RequestContext;
    use serde_json::json;

    /// The revisions that a server here supports. 2025-03-26 requires batches, which later revisions removed.
    pub const REVISIONS: &[ProtocolVersion] = &[
        ProtocolVersion::V_2024_11_05,
        ProtocolVersion::V_2025_06_18,
        ProtocolVersion::V_2025_11_25,
        ProtocolVersion::V_2026_07_28,
    ];

    pub fn implementation(name: &str, title: &str) -> Implementation {
        let mut implementation = Implementation::new(name, RELEASE);
        implementation.title = Some(title.to_owned());
        implementation
    }

    /// From revision 2026-07-28 on there is no session, so each result names the server.
    pub fn meta(
        context: &RequestContext<RoleServer>,
        server: impl FnOnce() -> Implementation,
    ) -> Option<MetaObject> {
        let version = context.protocol_version()?;
        let is_modern = version.as_str() >= ProtocolVersion::V_2026_07_28.as_str();
        is_modern.then(|| server_info(&server()))
    }

    pub fn server_info(server: &Implementation) -> MetaObject {
        let mut meta = MetaObject::new();
        let key = "io.modelcontextprotocol/serverInfo";
        meta.insert(key.to_owned(), json!(server));
        meta
    }

    #[cfg(test)]
    mod tests {
        use super::*;

        #[test]
        fn all_known_revisions_but_the_one_with_batches_are_supported() {
            let known = ProtocolVersion::KNOWN_VERSIONS.iter();
            let without = known.filter(|version| **version != ProtocolVersion::V_2025_03_26);
            assert!(without.eq(REVISIONS));
        }
    }
}

/// Key in the `_meta` of a call: the set that it is a part of, as 32 hexadecimal digits.
pub const SET_META: &str = "remit/set";

pub use behalf::{BEHALF_META, behalf_of_environment, claimed_behalf};
pub use server::{REVISIONS, implementation, meta, server_info};
