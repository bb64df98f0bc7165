//! Jobs refused by the kernel: the answer names the layer, the reason and the next step.

mod everyday;
mod profiles;
mod scene;
