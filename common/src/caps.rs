//! Bounds on all input from outside, in bytes unless the name says otherwise. Each is tested at the limit and one above.

/// One frame on the client socket, without its length field.
pub const FRAME: usize = 4 << 20;
/// One datagram on the link between warden and broker.
pub const LINK_MESSAGE: usize = 64 << 10;
/// One link message that exceeds [`LINK_MESSAGE`] and is split into several datagrams.
pub const LINK_PARTS: usize = 4 << 20;
pub const ADMIN_FRAME: usize = 64 << 10;
/// One element of argv with its final NUL: the kernel's MAX_ARG_STRLEN (execve(2)).
pub const ARGV_ELEMENT: usize = 128 << 10;
/// All of argv.
pub const ARGV: usize = 1 << 20;
/// Elements of argv.
pub const ARGV_COUNT: usize = 16 << 10;
pub const SCRIPT: usize = 1 << 20;
pub const STDIN: usize = 1 << 20;
/// A plan with what an approver reads of it: standard input of the commands that take one. It fits a [`FRAME`].
pub const BUNDLE: usize = 3 << 20;
/// One part of an upload.
pub const UPLOAD_PART: usize = 1 << 20;
/// Unfinished uploads of one uid.
pub const UPLOADS_OPEN: usize = 4;
/// Uploads of one uid on disk: the contents of the largest plan. The oldest whole one of the uid is deleted first.
pub const UPLOADS_PER_UID: u64 = 1 << 30;
/// Uploads of all users on disk. The oldest whole one of the user with most is deleted first.
pub const UPLOADS: u64 = 4 * UPLOADS_PER_UID;
/// Uploads of one uid in number, and of all users.
pub const UPLOADS_COUNT_PER_UID: usize = 64;
pub const UPLOADS_COUNT: usize = 512;
/// Seconds that an unfinished upload waits for its next part.
pub const UPLOAD_PAUSE_S: u64 = 600;
/// One without a part for this long goes for another one of the same user.
pub const UPLOAD_IDLE_S: u64 = 120;
/// Seconds that a whole upload is kept.
pub const UPLOAD_KEPT_S: u64 = 86_400;
/// Variables that a caller may set in one request.
pub const ENV_COUNT: usize = 64;
/// One variable, `NAME=value`.
pub const ENV_ELEMENT: usize = 32 << 10;
/// Working directory: the kernel's PATH_MAX.
pub const PATH: usize = 4096;
pub const REQUEST_ID: usize = 128;
pub const CLIENT_NAME: usize = 128;
/// Name of a profile or command.
pub const NAME: usize = 128;
pub const NAMED_ARGS: usize = 64;
/// One argument of a named command.
pub const NAMED_VALUE: usize = 4096;
/// Minimum bytes of a secret argument. Redacting every occurrence of a shorter one would blank the output.
pub const SECRET_LEAST: usize = 4;
pub const REASON: usize = 1024;
/// Calls in flight on one connection.
pub const CALLS_PER_SESSION: usize = 32;
pub const SESSIONS_PER_UID: usize = 32;
/// Connections of all users, not counting the first one of each user.
pub const SESSIONS: usize = 256;
/// Users connected at the same time.
pub const SESSION_USERS: usize = 512;
/// Connections on the admin socket that do not wait for an answer, of all users.
pub const ADMIN_SESSIONS: usize = 16;
/// All connections on the admin socket, also waiting ones. Users without one get up to [`FIRSTS`] more.
pub const ADMIN_CONNECTIONS: usize = 128;
/// The answer to one request to show a change, in all its frames: the signed bytes and the contents.
pub const SHOWN: usize = QUEUED_BYTES + (8 << 20);
/// Running jobs of one uid.
pub const JOBS_PER_UID: usize = 16;
/// Running jobs of all users.
pub const JOBS: usize = 64;
/// Jobs of one uid that wait for a slot.
pub const QUEUED_PER_UID: usize = 32;
/// Jobs of all users that wait for a slot. Users who have none waiting get up to [`FIRSTS`] more.
pub const QUEUED: usize = 128;
/// Changes of one uid that wait for an approval.
pub const PENDING_PER_UID: usize = 16;
/// Changes of all users that wait for an approval. Users who have none waiting get up to [`FIRSTS`] more.
pub const PENDING: usize = 128;
pub const GRANTS: usize = 256;
/// Maximum duration of a temporary grant in seconds.
pub const GRANT_S: u32 = 30 * 86_400;
/// Maximum number of runs of a temporary grant with limited uses.
pub const GRANT_USES: u32 = 10_000;
/// Paths of a grant for a time.
pub const GRANT_PATHS: usize = 64;
/// Reason of a person for a denial or a lock.
pub const WHY: usize = 1000;
/// Entries above a shared bound for users who have none of that kind: waiting jobs, pending changes, admin
/// connections. One user cannot lock out others, and many users together cannot exceed the bounds.
pub const FIRSTS: usize = 64;
/// Queued jobs, with script and stdin, and changes that wait for an approval, with copies and signed bytes: of each kind, a
/// quarter for one uid. Users without any share as much again.
pub const QUEUED_BYTES: usize = 32 << 20;
/// One file copied for an approval; the program gets the copy through a descriptor.
pub const COPIED_FILE: usize = 8 << 20;
/// Remembered ended jobs of one uid that only looked, and as many of its changes.
pub const ENDED_PER_UID: usize = 256;
/// Remembered ended jobs of all users.
pub const ENDED: usize = 1024;
/// Changes among them, at most. Above [`ENDED`] a job that only looked is forgotten.
pub const ENDED_CHANGES: usize = 512;
/// Requests per second of one uid, on average.
pub const REQUESTS_PER_SECOND: u32 = 200;
/// Requests of one uid in a burst, before the average applies.
pub const REQUEST_BURST: u32 = 400;
/// A request counts as one more for each so many bytes.
pub const REQUEST_UNIT: usize = 64 << 10;
/// Output of one stream in an answer, head and tail together.
pub const INLINE_OUTPUT: usize = 24 << 10;
/// One page of a job's output.
pub const PAGE: usize = 256 << 10;
/// Search pattern for output.
pub const PATTERN: usize = 1024;
/// Matching lines in one answer.
pub const GREP_MATCHES: u32 = 1000;
/// Lines shown before and after each matching line.
pub const GREP_CONTEXT: u32 = 10;
/// Bytes shown of one matching line.
pub const GREP_LINE: usize = 1024;
/// Output of one job on disk, unless set in `remit.toml`. More ends the job with `output_limit`.
pub const SPOOL_PER_JOB: u64 = 64 << 20;
/// Output of one uid's jobs on disk, unless set in `remit.toml`. The oldest ended job of the uid is deleted first.
pub const SPOOL_PER_UID: u64 = SPOOL / 4;
/// Output of all jobs on disk, unless set in `remit.toml`. The oldest ended job is deleted first.
pub const SPOOL: u64 = 1 << 30;
/// Default wait of a call, in milliseconds.
pub const WAIT_MS_DEFAULT: u32 = 20_000;
/// Maximum wait of a call, in milliseconds. Clients give up after 60 s.
pub const WAIT_MS: u32 = 50_000;
/// Default run time of a job, in seconds.
pub const RUNTIME_S_DEFAULT: u32 = 300;
/// Maximum run time of a job, in seconds. `remit.toml` cannot exceed it.
pub const RUNTIME_S: u32 = 86_400;
/// Milliseconds to send a hello or to finish a started frame.
pub const FRAME_DEADLINE_MS: u64 = 10_000;
/// Unsent bytes for one client that does not read. One more frame closes the connection.
pub const WRITE_BUFFER: usize = 8 << 20;
/// Unfinished large frames and unread answers on all connections of one uid.
pub const BUFFERS_PER_UID: usize = 32 << 20;
/// Requests of one uid that wait for the warden's answer. Further requests wait.
pub const ASKS_PER_UID: usize = 16;
/// Requests of all users that wait for free space on the link to the warden.
pub const LINK_QUEUE: usize = 256;
/// Concurrent requests for host facts.
pub const HOST_CALLS: usize = 2;
/// Milliseconds to collect host facts. It exceeds the timeout after which hanging sources are left out.
pub const HOST_DEADLINE_MS: u64 = 8_000;
/// Milliseconds to wait for output of an ended job while one of its descriptors is still open.
pub const DRAIN_MS: u64 = 1_000;
pub const POLICY_FILE: usize = 1 << 20;
/// Policy files of vendor and administrator together.
pub const POLICY_FILES: usize = 256;
/// All policy files together.
pub const POLICY: usize = 4 << 20;
/// Grants and denials in all policy files.
pub const POLICY_RULES: usize = 4096;
pub const POLICY_COMMANDS: usize = 1024;
pub const POLICY_PROFILES: usize = 64;
pub const PROFILE_PATHS: usize = 64;
pub const PROFILE_DESTINATIONS: usize = 16;
/// Names with a port that copies of the machine reach.
pub const PROFILE_NAMES: usize = 32;
/// Bytes of the commands, and of the grants, in one answer about access.
pub const ACCESS_BYTES: usize = 512 << 10;
/// Commands in an answer to a query.
pub const ACCESS_FOUND: usize = 16;
/// Changes of meaning in the answer to a reload.
pub const POLICY_CHANGES: usize = 100;
/// Refusals that `remit status` shows.
pub const RECENT_REFUSALS: usize = 5;
/// Denials explained in one result.
pub const DENIALS: usize = 8;
pub const HISTORY_PAGE: u32 = 100;
/// Exact length of a `traceparent`, version 00 of W3C Trace Context.
pub const TRACEPARENT: usize = 55;
