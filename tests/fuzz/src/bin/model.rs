//! Compiled policies, as the compiler sends them: any bytes are refused, or are a policy that answers and that stays
//! the same when encoded again. The same bytes as a message are a message or an error, as settings are settings or an
//! error.
#![no_main]

use remit_policy::exchange::{FromCompiler, ToCompiler, receive};
use remit_policy::{Ask, CallerIds, Policy};
use remit_settings::Config;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let _ = receive::<FromCompiler>(&mut &bytes[..]);
    let _ = receive::<ToCompiler>(&mut &bytes[..]);
    if let Ok(settings) = Config::decode(bytes) {
        assert_eq!(Config::decode(&settings.encode()).as_ref(), Ok(&settings));
        let _ = settings.check();
    }
    let Ok(policy) = Policy::decode(bytes) else {
        return;
    };
    let encoded = policy.encode();
    let again = Policy::decode(&encoded).expect("it was decoded");
    assert_eq!(encoded, again.encode());
    let caller = CallerIds {
        uid: 1000,
        gids: &[900],
    };
    let run = Ask::Run {
        profile: None,
        argv0: b"df",
        env_names: &[],
    };
    assert_eq!(policy.decide(caller, &run), again.decide(caller, &run));
    for command in policy.commands() {
        let _ = command.bind(&[], false);
        for param in &command.params {
            let _ = command.bind(&[(param.name.clone(), "a".to_owned())], false);
        }
        let ask = Ask::Command {
            name: &command.name,
            effect: command.effect,
            args: &[],
        };
        assert_eq!(policy.decide(caller, &ask), again.decide(caller, &ask));
    }
    let _ = policy.access(caller);
});
