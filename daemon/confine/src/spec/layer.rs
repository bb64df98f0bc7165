use std::io;

use remit_spawn::Layer;
use serde::{Deserialize, Serialize};

use crate::steps::report::{StepResult, Taken};

/// The layers that are switched on: all, except in tests with the feature `mutate`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct EnabledLayers {
    #[cfg(feature = "mutate")]
    off: Option<Layer>,
}

impl EnabledLayers {
    pub(crate) const ALL: EnabledLayers = EnabledLayers {
        #[cfg(feature = "mutate")]
        off: None,
    };

    #[cfg(feature = "mutate")]
    pub(crate) fn without(layer: Layer) -> EnabledLayers {
        EnabledLayers { off: Some(layer) }
    }

    #[cfg(feature = "mutate")]
    pub(crate) fn is_on(self, layer: Layer) -> bool {
        self.off != Some(layer)
    }

    #[cfg(not(feature = "mutate"))]
    pub(crate) fn is_on(self, _layer: Layer) -> bool {
        true
    }

    pub(crate) fn take_if(self, layer: Layer, take: impl FnOnce() -> io::Result<()>) -> Taken {
        match self.is_on(layer) {
            true => Ok(take().map(|()| StepResult::Done)?),
            false => Ok(StepResult::Absent),
        }
    }
}
