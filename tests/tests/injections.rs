//! Arguments by which everyday tools execute programs or write files: each is shown to do so by itself, and then to
//! do nothing of the kind as a value of a named command.

// A test stops at the first surprise; clippy knows that only of functions marked as tests.
#![allow(clippy::expect_used, clippy::indexing_slicing, clippy::panic)]

mod injections {
    mod attempts;
    mod ground;
    mod table;
}
