//! Bundles: any bytes are one whose every byte has the hash that its plan says, or an error. Its risks and what is
//! protected are judged without a panic.
#![no_main]

use remit_plan::{
    BeforeUndo, Bundle, FoundDirectory, Metadata, PlanPath, Protected, risks, sha256,
};

/// A machine in which every new directory stays.
struct Full;

impl BeforeUndo for Full {
    fn link_target(&self, _: usize, _: bool) -> Option<Vec<u8>> {
        None
    }
    fn directory(&self, _: usize) -> Option<FoundDirectory> {
        let meta = Metadata {
            mode: 0o755,
            uid: 33,
            gid: 33,
        };
        let others = usize::MAX;
        Some(FoundDirectory { others, meta })
    }
    fn accounts(&self, _: usize) -> Option<[Vec<u8>; 2]> {
        Some([b"a:x:33:33".to_vec(), Vec::new()])
    }
}

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let Ok(bundle) = Bundle::decode(bytes.to_vec()) else {
        return;
    };
    assert_eq!(bundle.as_bytes(), bytes);
    let protected = Protected {
        paths: vec![PlanPath::new("/etc/remit").expect("a path")].into(),
        names: [b"bob".to_vec()].into(),
        uids: [1000].into(),
        gids: [900].into(),
        has_unknown_homes: true,
    };
    let mut length = 8 + bundle.plan().encode().len();
    for view in bundle.views() {
        let content = view.entry.change.bundled();
        assert_eq!(view.new.map(sha256), content.map(|content| content.sha256));
        length += view.new.map_or(0, <[u8]>::len) + view.old.map_or(0, <[u8]>::len);
        let _ = (risks(&view), protected.refuses(&view));
    }
    assert_eq!(length, bytes.len());
    assert_eq!(bundle.plan().id().len(), 32);
    let _ = bundle.plan().undo_page(&Full);
});
