//! Which layers are switched on.

use remit_spawn::Layer;

/// The layers that are switched on: all, except in tests with the feature `mutate`.
#[derive(Clone, Copy, Debug)]
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
    pub(crate) fn number(self) -> u8 {
        self.off.map_or(0, |layer| layer as u8)
    }

    #[cfg(feature = "mutate")]
    pub(crate) fn new(number: u8) -> EnabledLayers {
        let off = Layer::ALL.into_iter().find(|layer| *layer as u8 == number);
        EnabledLayers { off }
    }

    #[cfg(not(feature = "mutate"))]
    pub(crate) fn number(self) -> u8 {
        0
    }

    #[cfg(not(feature = "mutate"))]
    pub(crate) fn new(_number: u8) -> EnabledLayers {
        EnabledLayers::ALL
    }

    #[cfg(feature = "mutate")]
    pub(crate) fn is_on(self, layer: Layer) -> bool {
        self.off != Some(layer)
    }

    #[cfg(not(feature = "mutate"))]
    pub(crate) fn is_on(self, _layer: Layer) -> bool {
        true
    }
}
