//! What a panic does.

/// Makes a panic of any thread end the process, as in packages, also where a build unwinds: development builds and tests
/// share what they compile. A task that died must not leave the others with half a state.
pub fn end_process() {
    if cfg!(panic = "unwind") {
        let print = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            print(info);
            std::process::abort()
        }));
    }
}
