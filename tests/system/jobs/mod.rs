//! Jobs under attack: floods of jobs and output, binary output, slow searches, full disks, and jobs that resist
//! their end.

mod all_jobs;
mod clients;
mod denials;
mod disk;
mod endings;
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
