//! Parts of a file that a client sends. The warden is asked once, when the first of them comes.

use std::rc::Rc;

use remit_common::caps;
use remit_common::refusal::{Code, Refusal};
use remit_link::{Answer, ToWarden};
use remit_wire::{CONTENT_BYTES, FILE_BYTES, Reply, Upload, UploadPart};
use tokio::task::spawn_local;

use crate::call::{Call, CallRefusal, wrong_answer};
use crate::uploads::UploadKey;

pub async fn upload(call: &Call, part: UploadPart) -> Result<Reply, CallRefusal> {
    let UploadPart {
        upload,
        offset,
        bytes,
    } = part;
    let uid = call.client.owner.uid;
    let (key, broker) = (UploadKey { uid, upload }, &call.broker);
    check(&upload, offset, bytes.len())?;
    if broker.uploads.received(&key).is_none() {
        if offset > 0 || bytes.is_empty() {
            return Ok(Reply::Uploaded(0));
        }
        // Only what fits is recorded.
        broker.uploads.check_space(&key)?;
        let session = call.client.session;
        let Upload { sha256, size } = upload;
        let message = |ticket| ToWarden::Upload {
            session,
            ticket,
            sha256,
            size,
        };
        match call.question(message).await? {
            Answer::Upload => broker.uploads.begin(key)?,
            Answer::Known(_) | Answer::Access(..) | Answer::Stopping(_) | Answer::Dropped(_) => {
                return Err(wrong_answer());
            }
        }
    }
    // A task of its own: a client that leaves must not leave the entry busy.
    let owner = Rc::clone(broker);
    let added = spawn_local(async move {
        let bytes = bytes.into_vec();
        owner.uploads.add(key, offset, bytes).await
    });
    let received = added.await.map_err(|_| wrong_answer())??;
    Ok(Reply::Uploaded(received))
}

fn check(upload: &Upload, offset: u64, length: usize) -> Result<(), Refusal> {
    let refused = |code, text: String| Err(Refusal::new(code, text).object("upload"));
    // A question can also be about the contents of a plan, which no client sends.
    let most = match length {
        0 => CONTENT_BYTES,
        _ => FILE_BYTES,
    };
    if !(1..=most).contains(&upload.size) {
        let size = upload.size;
        return refused(
            Code::TooLarge,
            format!("an upload has 1 to {most} bytes, not {size}"),
        );
    }
    if length > caps::UPLOAD_PART {
        let most = caps::UPLOAD_PART;
        return refused(
            Code::TooLarge,
            format!("the part has {length} bytes, the most is {most}"),
        );
    }
    match offset.checked_add(length as u64) {
        Some(end) if end <= upload.size => Ok(()),
        _ => refused(
            Code::InvalidArgs,
            "the part ends behind the end of the file".to_owned(),
        ),
    }
}
