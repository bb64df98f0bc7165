//! The system bus: one connection, method calls and property reads, with a timeout.

use std::collections::HashMap;
use std::time::Duration;

use remit_common::text;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::time::{Instant, timeout_at};
use zbus::{Connection, DynamicType, OwnedVariant, Type, connection};

use crate::args::Fault;

const SOCKET: &str = "unix:path=/run/dbus/system_bus_socket";
/// Timeout of one run, in which a unit can take minutes to stop. Below the profile's limit, so the job reports the state.
const PATIENCE: Duration = Duration::from_secs(550);
/// Of it for the calls after a job of the service manager. Nine minutes are left for that.
const LAST_CALLS: Duration = Duration::from_secs(10);
// Bytes of a bus error in a message.
const SAID: usize = 500;

pub struct Service {
    pub name: &'static str,
    pub path: &'static str,
    pub manager: &'static str,
}

pub struct Bus {
    pub connection: Connection,
    pub end: Instant,
}

pub fn run(acting: impl Future<Output = Result<(), Fault>>) -> Result<(), Fault> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Fault::Failed(format!("cannot begin: {error}")))?;
    runtime.block_on(acting)
}

impl Bus {
    pub async fn system() -> Result<Self, Fault> {
        Self::system_for(PATIENCE).await
    }

    pub async fn system_for(patience: Duration) -> Result<Self, Fault> {
        let end = Instant::now() + patience;
        let bus = timeout_at(end, connection::Builder::address(SOCKET).build()).await;
        let connection = bus
            .map_err(|_| "it did not answer in time".to_owned())
            .and_then(|bus| bus.map_err(|error| said(&error)))
            .map_err(|why| Fault::Failed(format!("cannot connect to the system bus: {why}")))?;
        Ok(Self { connection, end })
    }

    /// Returns when to give up a job of the service manager: calls after it still have time for an answer.
    pub fn end_of_jobs(&self) -> Instant {
        before_last_calls(self.end)
    }

    pub async fn call<B, R>(&self, to: &Service, method: &str, body: &B) -> Result<R, Fault>
    where
        B: Serialize + DynamicType,
        R: DeserializeOwned + Type,
    {
        self.call_at(to.name, to.path, to.manager, method, body)
            .await
    }

    pub async fn get<T: TryFrom<OwnedVariant>>(
        &self,
        to: &Service,
        path: &str,
        interface: &str,
        property: &str,
    ) -> Result<T, Fault> {
        let properties = "org.freedesktop.DBus.Properties";
        let value: OwnedVariant = self
            .call_at(to.name, path, properties, "Get", &(interface, property))
            .await?;
        value
            .try_into()
            .map_err(|_| Fault::Failed(format!("'{}' has an invalid {property}", to.name)))
    }

    pub async fn get_all(
        &self,
        to: &Service,
        path: &str,
        interface: &str,
    ) -> Result<HashMap<String, OwnedVariant>, Fault> {
        let properties = "org.freedesktop.DBus.Properties";
        self.call_at(to.name, path, properties, "GetAll", &(interface,))
            .await
    }

    /// Returns the unique bus name of a service's connection: its signals have this name as sender.
    pub async fn owner(&self, of: &Service) -> Result<String, Fault> {
        let bus = "org.freedesktop.DBus";
        self.call_at(bus, "/org/freedesktop/DBus", bus, "GetNameOwner", &of.name)
            .await
    }

    async fn call_at<B, R>(
        &self,
        to: &str,
        path: &str,
        interface: &str,
        method: &str,
        body: &B,
    ) -> Result<R, Fault>
    where
        B: Serialize + DynamicType,
        R: DeserializeOwned + Type,
    {
        let failed = |why: String| Fault::Failed(format!("{method} of '{to}': {why}"));
        let call = self
            .connection
            .call_method(Some(to), path, Some(interface), method, body);
        let reply = timeout_at(self.end, call)
            .await
            .map_err(|_| failed("no answer in time".into()))?
            .map_err(|error| failed(said(&error)))?;
        reply
            .body()
            .deserialize()
            .map_err(|error| failed(format!("an odd answer: {}", said(&error))))
    }
}

fn before_last_calls(end: Instant) -> Instant {
    end.checked_sub(LAST_CALLS).unwrap_or(end)
}

pub fn said(error: &zbus::Error) -> String {
    text::line(error.to_string().as_bytes(), SAID)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_after_a_job_have_time_left() {
        let end = Instant::now() + PATIENCE;
        let for_jobs = PATIENCE - end.duration_since(before_last_calls(end));
        assert_eq!(for_jobs, Duration::from_secs(9 * 60));
        assert!(for_jobs < PATIENCE);
    }
}
