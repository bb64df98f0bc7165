//! What a zygote makes a sandbox of, so that it is the same one.

use crate::floor::ForkCall;
use crate::net::{Net, Network};
use crate::profile::ReadProfile;
use crate::root::Root;
use crate::sandbox::{Base, Sandbox, Who};
use crate::seccomp::Class;
use crate::wall::{Wall, Walls};
use crate::{Error, Kernel, Limits, Result};
use serde::{Deserialize, Serialize};

/// Bytes of one, at most. Jobs of larger sandboxes are forked by the warden itself.
const MOST: usize = 48 << 10;

/// A compiled sandbox in bytes: what has the same ones confines alike.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Recipe(Vec<u8>);

#[derive(Serialize, Deserialize)]
struct Parts {
    base: Kind,
    who: Who,
    limits: Limits,
    landlock_abi: u32,
    keyrings: bool,
    one_session: bool,
    walls: u8,
}

#[derive(Serialize, Deserialize)]
enum Kind {
    /// Changes nothing at all.
    Read,
    Strict {
        class: Class,
        root: Root,
        /// Whether a network of its own has a loopback interface; `None`: it has none of its own.
        loopback: Option<bool>,
    },
}

impl Recipe {
    /// `None` where the sandbox needs more than a zygote has: a relay, in `read` capabilities and what is
    /// written by name, or a kernel without clone3(2).
    pub(crate) fn of(sandbox: &Sandbox) -> Option<Recipe> {
        let Sandbox {
            walls, who, kernel, ..
        } = sandbox;
        let base = match &sandbox.base {
            Base::Read(places) => {
                let plain = who.capabilities == 0 && !sandbox.class.internet;
                (plain && places.listed.is_empty()).then_some(Kind::Read)?
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
            && walls.up(Wall::PidNamespace)
            && walls.up(Wall::PrivateRoot);
        let parts = can.then(|| Parts {
            base,
            who: who.clone(),
            limits: sandbox.limits,
            landlock_abi: kernel.landlock_abi,
            keyrings: kernel.keyrings,
            one_session: kernel.one_session,
            walls: walls.number(),
        })?;
        let bytes = postcard::to_stdvec(&parts).ok()?;
        (bytes.len() <= MOST).then_some(Recipe(bytes))
    }

    /// Compiles it.
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
        let (who, limits, walls) = (parts.who, parts.limits, Walls::of(parts.walls));
        match parts.base {
            Kind::Read => {
                let profile = ReadProfile {
                    groups: who.groups,
                    limits,
                    ..ReadProfile::default()
                };
                Sandbox::compile_read(&profile, &kernel, walls)
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
                let net = Net::of(&network, &kernel)?;
                Sandbox::of_strict_parts(who, class, root, net, limits, &kernel, walls)
            }
        }
    }
}
