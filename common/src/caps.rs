//! Every bound on what comes from outside, in one table.
//!
//! Each is tested at the cap and one above it. Bytes unless the name says otherwise.

/// One frame on the client socket, without its length field.
pub const FRAME: usize = 4 << 20;
/// One datagram on the link between warden and broker.
pub const LINK_MESSAGE: usize = 64 << 10;
/// One link message that travels in several datagrams because it exceeds [`LINK_MESSAGE`].
pub const LINK_PARTS: usize = 4 << 20;
/// One frame on the admin socket.
pub const ADMIN_FRAME: usize = 64 << 10;
/// One element of argv: the kernel's MAX_ARG_STRLEN (execve(2)), with its final NUL.
pub const ARGV_ELEMENT: usize = 128 << 10;
/// All of argv together.
pub const ARGV: usize = 1 << 20;
/// Elements in argv.
pub const ARGV_COUNT: usize = 16 << 10;
/// One script.
pub const SCRIPT: usize = 1 << 20;
/// Bytes given as standard input.
pub const STDIN: usize = 1 << 20;
/// Variables a caller may set in one request.
pub const ENV_COUNT: usize = 64;
/// One variable, `NAME=value`.
pub const ENV_ELEMENT: usize = 32 << 10;
/// A working directory: the kernel's PATH_MAX.
pub const PATH: usize = 4096;
/// A request id chosen by a client.
pub const REQUEST_ID: usize = 128;
/// The name a client gives itself.
pub const CLIENT_NAME: usize = 128;
/// The name of a profile or command.
pub const NAME: usize = 128;
/// Arguments of a named command.
pub const NAMED_ARGS: usize = 64;
/// One argument of a named command.
pub const NAMED_VALUE: usize = 4096;
/// The least bytes of a secret argument: every occurrence of a shorter one in its output would blank that.
pub const SECRET_LEAST: usize = 4;
/// The reason given for a change.
pub const REASON: usize = 1024;
/// Calls in flight on one connection.
pub const CALLS_PER_SESSION: usize = 32;
/// Connections of one uid.
pub const SESSIONS_PER_UID: usize = 32;
/// Connections in all, beside the first of each user.
pub const SESSIONS: usize = 256;
/// Users who are connected at once.
pub const SESSION_USERS: usize = 512;
/// Connections on the admin socket that wait for nothing, in all.
pub const ADMIN_SESSIONS: usize = 16;
/// Connections on the admin socket in all, those that wait for an answer too; one more of each user who has none.
pub const ADMIN_CONNECTIONS: usize = 128;
/// Running jobs of one uid.
pub const JOBS_PER_UID: usize = 16;
/// Running jobs in all.
pub const JOBS: usize = 64;
/// Jobs of one uid that wait for a place.
pub const QUEUED_PER_UID: usize = 32;
/// Jobs that wait for a place in all; one more of each user who has none waiting.
pub const QUEUED: usize = 128;
/// Changes of one uid that wait for an approval.
pub const PENDING_PER_UID: usize = 16;
/// Changes that wait for an approval in all; one more of each user who has none waiting.
pub const PENDING: usize = 128;
/// Time-boxed grants at once.
pub const GRANTS: usize = 256;
/// How long a time-boxed grant lasts at most, in seconds.
pub const GRANT_S: u32 = 30 * 86_400;
/// Runs that a time-boxed grant with a number of uses has at most.
pub const GRANT_USES: u32 = 10_000;
/// A person's reason for a denial or a lock.
pub const WHY: usize = 1000;
/// Bytes of argv, environment, script and stdin of all jobs that wait; of one uid a quarter.
pub const QUEUED_BYTES: usize = 32 << 20;
/// Bytes of a file that is copied for an approval: what its program gets by a descriptor.
pub const COPIED_FILE: usize = 8 << 20;
/// Ended jobs kept for later questions, of one uid.
pub const ENDED_PER_UID: usize = 256;
/// Ended jobs kept for later questions, in all.
pub const ENDED: usize = 1024;
/// Requests one uid may make each second, averaged.
pub const REQUESTS_PER_SECOND: u32 = 200;
/// Requests one uid may make at once before the average counts.
pub const REQUEST_BURST: u32 = 400;
/// Output kept of one stream of a job in an answer: head and tail together.
pub const INLINE_OUTPUT: usize = 24 << 10;
/// One page of a job's output.
pub const PAGE: usize = 256 << 10;
/// A pattern to search output for.
pub const PATTERN: usize = 1024;
/// Lines that match, in one answer.
pub const GREP_MATCHES: u32 = 1000;
/// Lines shown before and after each line that matches.
pub const GREP_CONTEXT: u32 = 10;
/// Bytes shown of one such line.
pub const GREP_LINE: usize = 1024;
/// Output of one job on disk; more ends the job with `output_limit`. Unless `remit.toml` says otherwise.
pub const SPOOL_PER_JOB: u64 = 64 << 20;
/// Output of the jobs of one uid on disk; its oldest ended job goes first. Unless `remit.toml` says otherwise.
pub const SPOOL_PER_UID: u64 = SPOOL / 4;
/// Output of all jobs on disk; the oldest ended job goes first. Unless `remit.toml` says otherwise.
pub const SPOOL: u64 = 1 << 30;
/// How long a call waits by default, in milliseconds.
pub const WAIT_MS_DEFAULT: u32 = 20_000;
/// How long a call waits at most, in milliseconds: clients give up at 60 s.
pub const WAIT_MS: u32 = 50_000;
/// How long a job runs by default, in seconds.
pub const RUNTIME_S_DEFAULT: u32 = 300;
/// How long a job runs at most, in seconds, whatever remit.toml allows.
pub const RUNTIME_S: u32 = 86_400;
/// How long a connection may take to send its hello, or to finish a frame it began, in milliseconds.
pub const FRAME_DEADLINE_MS: u64 = 10_000;
/// Bytes waiting to be written to one client that does not read; one more frame ends the connection.
pub const WRITE_BUFFER: usize = 8 << 20;
/// Bytes of unfinished large frames and of unread answers, of one uid's connections together.
pub const BUFFERS_PER_UID: usize = 32 << 20;
/// Requests of one uid that wait for the warden's answer; more wait for their turn.
pub const ASKS_PER_UID: usize = 16;
/// Requests of all that wait for room on the link to the warden.
pub const LINK_QUEUE: usize = 256;
/// Requests for host facts that are worked on at once.
pub const HOST_CALLS: usize = 2;
/// How long host facts may take, in milliseconds: more than the time after which they leave out what hangs.
pub const HOST_DEADLINE_MS: u64 = 8_000;
/// How long the output of an ended job is waited for when a descriptor of it is still open, in milliseconds.
pub const DRAIN_MS: u64 = 1_000;
/// One policy file.
pub const POLICY_FILE: usize = 1 << 20;
/// Policy files, vendor's and administrator's together.
pub const POLICY_FILES: usize = 256;
/// All policy files together.
pub const POLICY: usize = 4 << 20;
/// Grants and denials in all policy files.
pub const POLICY_RULES: usize = 4096;
/// Named commands in all policy files.
pub const POLICY_COMMANDS: usize = 1024;
/// Profiles in all policy files.
pub const POLICY_PROFILES: usize = 64;
/// Paths that one profile lists.
pub const PROFILE_PATHS: usize = 64;
/// Network destinations that one profile lists.
pub const PROFILE_DESTINATIONS: usize = 16;
/// Commands that one answer about access lists.
pub const ACCESS_COMMANDS: usize = 64;
/// Changes of meaning that the answer to a reload lists.
pub const POLICY_CHANGES: usize = 100;
/// Refusals that `remit status` shows.
pub const RECENT_REFUSALS: usize = 5;
/// Denials that one result explains.
pub const DENIALS: usize = 8;
/// Entries in one page of a history.
pub const HISTORY_PAGE: u32 = 100;
/// A `traceparent`: version 00 of W3C Trace Context has exactly so many bytes.
pub const TRACEPARENT: usize = 55;
