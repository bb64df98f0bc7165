//! Whole numbers of JSON that clients write, as JSON Schema has them: 20000.0 is one, and 0.5 is none.

use std::any::type_name;
use std::fmt;
use std::marker::PhantomData;

use serde::de::{Deserializer, Error, Unexpected, Visitor};

/// Reads a field that may be absent; it also needs `serde(default)`.
pub fn whole<'de, D: Deserializer<'de>, N: TryFrom<u64>>(
    deserializer: D,
) -> Result<Option<N>, D::Error> {
    deserializer.deserialize_option(Whole(PhantomData))
}

struct Whole<N>(PhantomData<N>);

impl<'de, N: TryFrom<u64>> Visitor<'de> for Whole<N> {
    type Value = Option<N>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(type_name::<N>())
    }

    fn visit_none<E: Error>(self) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_u64(self)
    }

    fn visit_u64<E: Error>(self, number: u64) -> Result<Self::Value, E> {
        let whole = N::try_from(number).ok().map(Some);
        whole.ok_or_else(|| Self::too_large(Unexpected::Unsigned(number)))
    }

    fn visit_i64<E: Error>(self, number: i64) -> Result<Self::Value, E> {
        Err(E::invalid_value(Unexpected::Signed(number), &self))
    }

    fn visit_f64<E: Error>(self, number: f64) -> Result<Self::Value, E> {
        if number < 0.0 || number.fract() != 0.0 {
            return Err(E::invalid_type(Unexpected::Float(number), &self));
        }
        // Without a fraction it is written as an integer. -0.0 has a sign.
        match number.abs().to_string().parse() {
            Ok(whole) => self.visit_u64(whole),
            Err(_) => Err(Self::too_large(Unexpected::Float(number))),
        }
    }
}

impl<N: TryFrom<u64>> Whole<N> {
    fn too_large<E: Error>(number: Unexpected<'_>) -> E {
        let mut all = (0..u64::BITS).map(|bits| u64::MAX >> bits);
        let largest = all.find(|largest| N::try_from(*largest).is_ok());
        let expected = format!("a whole number up to {}", largest.unwrap_or_default());
        E::invalid_value(number, &expected.as_str())
    }
}
