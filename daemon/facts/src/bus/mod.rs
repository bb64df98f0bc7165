//! Reads units and sessions from the service and login managers by D-Bus (org.freedesktop.systemd1(5),
//! org.freedesktop.login1(5)): lists and properties. Starts nothing: a service that is not on the bus is not called.

mod service;

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use remit_wire::host::{FailedUnit, List, Section, Session, StateCount, Units};
use tokio::sync::oneshot;
use tokio::time::{Instant, timeout_at};
use zbus::message::Body;
use zbus::{Connection, DynamicType, OwnedObjectPath, OwnedVariant, Type, connection};

use crate::read::{self, Sources, Why, wants};

pub use service::service_json;
pub(crate) use service::{ListedUnit, ListedUnitFile, unit_files, unit_states};

/// Timeout for all bus calls of one request together.
pub(crate) const PATIENCE: Duration = Duration::from_secs(2);
const FAILED: usize = 64;
const RESTARTING: usize = 32;
const SESSIONS: usize = 64;
/// Maximum bytes of an answer: enough for about ten thousand units.
const ANSWER: usize = 4 << 20;

const SYSTEMD: Service = Service {
    name: "org.freedesktop.systemd1",
    path: "/org/freedesktop/systemd1",
    manager: "org.freedesktop.systemd1.Manager",
};
const LOGIND: Service = Service {
    name: "org.freedesktop.login1",
    path: "/org/freedesktop/login1",
    manager: "org.freedesktop.login1.Manager",
};

/// Decoding of a list of all units: milliseconds of a processor.
pub type Decoding = Box<dyn FnOnce() + Send>;

/// Answers from the bus. A part that was not requested is `None`.
#[derive(Debug, Default)]
pub struct BusFacts {
    pub(crate) units: Option<Result<Units, Why>>,
    pub(crate) sessions: Option<Result<List<Session>, Why>>,
}

/// Asks both managers for what `sections` need, within 2 s, on a tokio runtime with time. No answer becomes a gap.
pub async fn ask(sections: &[Section], at: &Sources) -> BusFacts {
    ask_within(sections, at, PATIENCE).await
}

async fn ask_within(sections: &[Section], at: &Sources, patience: Duration) -> BusFacts {
    let (units, users) = (
        wants(sections, Section::Units),
        wants(sections, Section::Users),
    );
    if !units && !users {
        return BusFacts::default();
    }
    let bus = connect(&at.run, Instant::now() + patience).await;
    let mut facts = BusFacts::default();
    if units {
        facts.units = Some(match &bus {
            Ok(bus) => bus.units().await,
            Err(why) => Err(why.clone()),
        });
    }
    if users {
        facts.sessions = Some(match &bus {
            Ok(bus) => bus.sessions().await,
            Err(why) => Err(why.clone()),
        });
    }
    facts
}

async fn connect(run: &Path, end: Instant) -> Result<Bus, Why> {
    let socket = run.join("dbus/system_bus_socket");
    if !socket.exists() {
        return Err(format!("no system bus at '{}'", socket.display()));
    }
    let address = format!("unix:path={}", socket.display());
    let connected = timeout_at(end, connection::Builder::address(address.as_str()).build()).await;
    let bus = connected.map_err(|_| {
        format!(
            "the system bus at '{}' did not answer in time",
            socket.display()
        )
    })?;
    let bus = bus.map_err(|err| {
        format!(
            "cannot connect to the system bus at '{}': {}",
            socket.display(),
            read::shown(&err.to_string())
        )
    })?;
    Ok(Bus {
        bus,
        end,
        decode_by: |decoding| decoding(),
    })
}

struct Service {
    name: &'static str,
    path: &'static str,
    manager: &'static str,
}

struct Bus {
    bus: Connection,
    end: Instant,
    decode_by: fn(Decoding),
}

/// An entry of ListUnits: name, description, load, active, sub state, followed unit, object, job id, type and object.
type Unit = (
    String,
    String,
    String,
    String,
    String,
    String,
    OwnedObjectPath,
    u32,
    String,
    OwnedObjectPath,
);
/// An entry of ListSessions: id, uid, user, seat, object.
type Login = (String, u32, String, String, OwnedObjectPath);

fn decoded<R: serde::de::DeserializeOwned + Type>(
    to: &str,
    method: &str,
    body: &Body,
) -> Result<R, Why> {
    body.deserialize().map_err(|err| {
        format!(
            "'{to}' gave an unexpected answer to {method}: {}",
            read::shown(&err.to_string())
        )
    })
}

impl Bus {
    async fn call<B, R>(
        &self,
        to: &str,
        path: &str,
        interface: &str,
        method: &str,
        body: &B,
    ) -> Result<R, Why>
    where
        B: serde::Serialize + DynamicType,
        R: serde::de::DeserializeOwned + Type,
    {
        let body = self.answer(to, path, interface, method, body).await?;
        decoded(to, method, &body)
    }

    async fn answer<B: serde::Serialize + DynamicType>(
        &self,
        to: &str,
        path: &str,
        interface: &str,
        method: &str,
        body: &B,
    ) -> Result<Body, Why> {
        let called = timeout_at(
            self.end,
            self.bus
                .call_method(Some(to), path, Some(interface), method, body),
        )
        .await;
        let reply = called.map_err(|_| format!("'{to}' did not answer {method} in time"))?;
        let body = reply
            .map_err(|err| format!("'{to}' refused {method}: {}", read::shown(&err.to_string())))?
            .body();
        if body.len() > ANSWER {
            return Err(format!(
                "'{to}' answered {method} with more than {ANSWER} bytes"
            ));
        }
        Ok(body)
    }

    async fn get<T: TryFrom<OwnedVariant>>(
        &self,
        to: &Service,
        path: &str,
        interface: &str,
        name: &str,
    ) -> Result<T, Why> {
        let value: OwnedVariant = self
            .call(
                to.name,
                path,
                "org.freedesktop.DBus.Properties",
                "Get",
                &(interface, name),
            )
            .await?;
        value
            .try_into()
            .map_err(|_| format!("'{}' has {name} in another type", to.name))
    }

    /// Fails if the service is not on the bus, because a call would make the bus start it.
    async fn present(&self, service: &Service) -> Result<(), Why> {
        let bus = "org.freedesktop.DBus";
        match self
            .call(
                bus,
                "/org/freedesktop/DBus",
                bus,
                "NameHasOwner",
                &service.name,
            )
            .await?
        {
            true => Ok(()),
            false => Err(format!("'{}' is not on the system bus", service.name)),
        }
    }

    async fn list_units(&self) -> Result<Vec<Unit>, Why> {
        let Service {
            name,
            path,
            manager,
        } = SYSTEMD;
        let method = "ListUnits";
        let body = self.answer(name, path, manager, method, &()).await?;
        let (done, units) = oneshot::channel();
        (self.decode_by)(Box::new(move || {
            drop(done.send(decoded(name, method, &body)));
        }));
        let units = units.await;
        units.unwrap_or_else(|_| Err(format!("the answer to {method} was not decoded")))
    }

    async fn units(&self) -> Result<Units, Why> {
        self.present(&SYSTEMD).await?;
        let units = self.list_units().await?;
        let mut counts: BTreeMap<String, u64> = BTreeMap::new();
        let (mut failed, mut restarting) = (Vec::new(), Vec::new());
        for (name, description, _, active, sub, _, object, ..) in units {
            *counts.entry(read::shown(&active)).or_default() += 1;
            if active == "failed" {
                failed.push((name, description, object));
            } else if is_restarting(&sub) {
                restarting.push(read::shown(&name));
            }
        }
        let failed = List::cut(failed, FAILED);
        let mut details = Vec::with_capacity(failed.items.len());
        for (name, description, object) in failed.items {
            details.push(self.failed(&name, &description, object.as_str()).await);
        }
        details.sort_by_key(|unit| std::cmp::Reverse(unit.since));
        let (path, manager) = (SYSTEMD.path, SYSTEMD.manager);
        let system = self
            .get::<String>(&SYSTEMD, path, manager, "SystemState")
            .await;
        let jobs = self.get::<u32>(&SYSTEMD, path, manager, "NJobs").await;
        Ok(Units {
            failed: List {
                items: details,
                more: failed.more,
            },
            restarting: List::cut(restarting, RESTARTING),
            system: system.ok().as_deref().map(read::shown),
            counts: counts
                .into_iter()
                .map(|(state, count)| StateCount { state, count })
                .take(8)
                .collect(),
            jobs: jobs.ok().map(u64::from),
        })
    }

    async fn failed(&self, name: &str, description: &str, object: &str) -> FailedUnit {
        let since = self
            .get::<u64>(
                &SYSTEMD,
                object,
                "org.freedesktop.systemd1.Unit",
                "StateChangeTimestamp",
            )
            .await;
        let result = match interface(name) {
            Some(kind) => self.get::<String>(&SYSTEMD, object, &kind, "Result").await,
            None => Err("units of this kind have no result".into()),
        };
        let status = match name.ends_with(".service") {
            true => self.status(object).await,
            false => None,
        };
        let why = since.as_ref().err().or(result.as_ref().err()).cloned();
        FailedUnit {
            name: read::shown(name),
            description: read::shown(description),
            result: result.ok().as_deref().map(read::shown),
            status,
            since: since.ok().map(seconds),
            why,
        }
    }

    /// Returns how the main process ended. After a failure before its start the manager says code 0 and status 0.
    async fn status(&self, object: &str) -> Option<i32> {
        let interface = "org.freedesktop.systemd1.Service";
        let number = |name| self.get::<i32>(&SYSTEMD, object, interface, name);
        let has_ended = number("ExecMainCode").await.ok()? != 0;
        number("ExecMainStatus").await.ok().filter(|_| has_ended)
    }

    async fn sessions(&self) -> Result<List<Session>, Why> {
        self.present(&LOGIND).await?;
        let logins: Vec<Login> = self
            .call(
                LOGIND.name,
                LOGIND.path,
                LOGIND.manager,
                "ListSessions",
                &(),
            )
            .await?;
        let logins = List::cut(logins, SESSIONS);
        let mut details = Vec::with_capacity(logins.items.len());
        for (_, _, user, seat, object) in logins.items {
            let interface = "org.freedesktop.login1.Session";
            let text = |name| self.get::<String>(&LOGIND, object.as_str(), interface, name);
            // A user's service manager also has a session, but no person is logged in there.
            if text("Class")
                .await
                .is_ok_and(|class| class.starts_with("manager"))
            {
                continue;
            }
            let non_empty = |text: String| Some(read::shown(&text)).filter(|text| !text.is_empty());
            details.push(Session {
                user: read::shown(&user),
                tty: text("TTY")
                    .await
                    .ok()
                    .and_then(non_empty)
                    .or_else(|| non_empty(seat)),
                from: text("RemoteHost").await.ok().and_then(non_empty),
                since: self
                    .get::<u64>(&LOGIND, object.as_str(), interface, "Timestamp")
                    .await
                    .ok()
                    .map(seconds),
            });
        }
        Ok(List {
            items: details,
            more: logins.more,
        })
    }
}

/// The second one is that of systemd 254 and later, once the start is queued.
pub(crate) fn is_restarting(sub: &str) -> bool {
    matches!(sub, "auto-restart" | "auto-restart-queued")
}

fn seconds(microseconds: u64) -> u64 {
    microseconds / 1_000_000
}

fn interface(unit: &str) -> Option<String> {
    let kind = unit.rsplit_once('.')?.1;
    let name = match kind {
        "service" => "Service",
        "socket" => "Socket",
        "mount" => "Mount",
        "automount" => "Automount",
        "swap" => "Swap",
        "timer" => "Timer",
        "path" => "Path",
        "scope" => "Scope",
        _ => return None,
    };
    Some(format!("org.freedesktop.systemd1.{name}"))
}

#[cfg(test)]
mod tests;
