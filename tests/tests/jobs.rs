//! Jobs that belong to the daemon, from their bad side: floods of jobs and of output, output that is no text,
//! searches made to last, full disks, and jobs that do not want to end.

// A test stops at the first surprise; clippy knows that only of functions marked as tests.
#![allow(clippy::expect_used, clippy::indexing_slicing, clippy::panic)]

mod jobs {
    mod clients;
    mod denials;
    mod disk;
    mod endings;
    mod everybody;
    mod follow;
    mod grep;
    mod looks;
    mod model;
    mod output;
    mod owners;
    mod queue;
    mod queue_ends;
    mod scene;
    mod stop;
    mod turns;
}
