//! Changes that another person approves, over the real daemon: what an approval starts, and what never starts.

mod approved;
mod approvers;
mod attacks;
mod clients;
mod decided;
mod described;
mod files;
mod history;
mod killed;
mod marks;
mod meanwhile;
mod notified;
mod scene;
mod void;
mod words;
