//! Serializes a sandbox for a worker, so that the worker builds the same one.

use crate::Layer;
use crate::net::Net;
use crate::spec::compiled::{Base, Sandbox};
use crate::spec::layer::EnabledLayers;
use crate::steps::private_root::Root;
use crate::steps::seccomp::Class;
use crate::sys::ForkCall;
use crate::{Error, Kernel, Limits, Network, ReadProfile, Result};
use remit_spawn::Credentials;
use serde::{Deserialize, Serialize};

/// Maximum bytes of a recipe. The warden itself forks jobs of larger sandboxes.
const MOST: usize = 48 << 10;

/// A compiled sandbox as bytes. Equal bytes mean equal confinement.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Recipe(Vec<u8>);

#[derive(Serialize, Deserialize)]
struct Parts {
    base: Kind,
    credentials: Credentials,
    limits: Limits,
    landlock_abi: u32,
    keyrings: bool,
    one_session: bool,
    layers: u8,
}

#[derive(Serialize, Deserialize)]
enum Kind {
    Read,
    Strict {
        class: Class,
        root: Root,
        /// Whether its own network has a loopback interface. `None`: it has no network of its own.
        loopback: Option<bool>,
    },
}

impl Recipe {
    /// Returns `None` if the sandbox needs more than a worker has, or the kernel lacks clone3(2). A worker has no
    /// relay, no base `host`, and in `read` no capabilities, Internet sockets or listed paths.
    pub(crate) fn new(sandbox: &Sandbox) -> Option<Recipe> {
        let Sandbox {
            layers,
            credentials,
            kernel,
            ..
        } = sandbox;
        let base = match &sandbox.base {
            Base::Read(overmounts) => {
                let plain = credentials.capabilities == 0 && !sandbox.class.internet;
                (plain && overmounts.listed.is_empty()).then_some(Kind::Read)?
            }
            Base::Strict(strict) => Kind::Strict {
                class: sandbox.class,
                root: strict.root.clone(),
                loopback: match &strict.net {
                    Some(net) => Some(net.loopback()?),
                    None => None,
                },
            },
            Base::Host => return None,
        };
        let can = kernel.fork == ForkCall::Clone3
            && layers.is_on(Layer::PidNamespace)
            && layers.is_on(Layer::PrivateRoot);
        let parts = can.then(|| Parts {
            base,
            credentials: credentials.clone(),
            limits: sandbox.limits,
            landlock_abi: kernel.landlock_abi,
            keyrings: kernel.keyrings,
            one_session: kernel.one_session,
            layers: layers.number(),
        })?;
        let bytes = postcard::to_stdvec(&parts).ok()?;
        (bytes.len() <= MOST).then_some(Recipe(bytes))
    }

    pub(crate) fn sandbox(&self) -> Result<Sandbox> {
        let parts: Parts = postcard::from_bytes(&self.0)
            .map_err(|error| Error::refused("cannot read a recipe", error.to_string()))?;
        let kernel = Kernel {
            release: String::new(),
            landlock_abi: parts.landlock_abi,
            landlock_errata: 0,
            keyrings: parts.keyrings,
            loginuid: false,
            one_session: parts.one_session,
            fork: ForkCall::Clone3,
        };
        let (credentials, limits, layers) = (
            parts.credentials,
            parts.limits,
            EnabledLayers::new(parts.layers),
        );
        match parts.base {
            Kind::Read => {
                let profile = ReadProfile {
                    groups: credentials.groups,
                    limits,
                    ..ReadProfile::default()
                };
                Sandbox::compile_read(&profile, &kernel, layers)
            }
            Kind::Strict {
                class,
                root,
                loopback,
            } => {
                let network = match loopback {
                    Some(true) => Network::Loopback,
                    Some(false) => Network::None,
                    None => Network::Host,
                };
                let net = Net::new(&network, &kernel)?;
                Sandbox::of_strict_parts(credentials, class, root, net, limits, &kernel, layers)
            }
        }
    }
}
