//! Writes the FETCH response of one message, item by item.

use securanet_gateway::{model::StoreError, store::Content};

use super::{
    Plan, Progress,
    content::{self, Transform},
    decode::Decoder,
    header_fields::HeaderFields,
    opens_content,
    section::{Layout, Located, Node, window},
};
use crate::{
    error::ImapError,
    grammar::{
        date::date_time,
        fetch::{FetchItem, Section, SectionText},
    },
    mailbox::{
        out_of_turn,
        row::{Detail, Row},
    },
    response::{Stop, email_object_id, thread_object_id},
    session::{Session, state::Selected},
};

/// Writes `* n FETCH (...)`. A message that is gone by now is left out.
pub(super) async fn respond(
    session: &mut Session,
    selected: &mut Selected,
    plan: &Plan,
    row: &Row,
    progress: &mut Progress,
) -> Result<(), Stop> {
    let Some(sequence) = selected.view.sequence(row.state.uid) else { return Ok(()) };
    let newly_seen = progress.newly_seen.contains(row.state.uid);
    let content = if plan.opens {
        let account = &selected.authenticated.account;
        let place = account.login.place;
        match account.store.store().open(place.group, place.account, row.state.email).await {
            Ok(content) => Some(content),
            Err(StoreError::NotFound) => {
                progress.gone = true;
                return Ok(());
            }
            Err(error) => return Err(error.into()),
        }
    } else {
        None
    };
    let mut response = Response { session, selected, row, content: content.as_deref(), progress, empty: true };
    response.session.out.text(&format!("* {sequence} FETCH ("));
    match response.items(plan, newly_seen).await {
        Ok(()) => {}
        // A tagged NO in the middle of a response would be taken for a part of it.
        Err(Stop::Refused(tagged)) => {
            return Err(ImapError::ContentLost(StoreError::Internal(tagged.text.into_owned())).into());
        }
        Err(fatal) => return Err(fatal),
    }
    progress.answered += 1;
    Ok(())
}

struct Response<'a> {
    session: &'a mut Session,
    selected: &'a mut Selected,
    row: &'a Row,
    content: Option<&'a dyn Content>,
    progress: &'a mut Progress,
    /// Nothing was written yet.
    empty: bool,
}

impl Response<'_> {
    fn begin(&mut self) {
        if !std::mem::take(&mut self.empty) {
            self.session.out.text(" ");
        }
    }

    async fn items(&mut self, plan: &Plan, newly_seen: bool) -> Result<(), Stop> {
        for item in &plan.items {
            self.item(item).await?;
            self.session.send_gathered().await?;
        }
        // RFC 9051 6.4.5: what FETCH itself changed is told.
        if newly_seen && !plan.items.contains(&FetchItem::Flags) {
            self.item(&FetchItem::Flags).await?;
            if self.session.out.enabled.condstore && !plan.items.contains(&FetchItem::ModSeq) {
                self.item(&FetchItem::ModSeq).await?;
            }
        }
        self.session.out.text(")");
        self.session.out.line_end();
        Ok(())
    }

    async fn item(&mut self, item: &FetchItem) -> Result<(), Stop> {
        match item {
            FetchItem::Flags | FetchItem::Uid | FetchItem::ModSeq | FetchItem::EmailId => self.state_item(item),
            item if opens_content(item) => return self.content_item(item).await,
            _ => self.detail_item(item)?,
        }
        Ok(())
    }

    fn state_item(&mut self, item: &FetchItem) {
        self.begin();
        let state = &self.row.state;
        let account = self.selected.authenticated.account.id();
        let out = &mut self.session.out;
        match item {
            FetchItem::Flags => {
                out.message_flags(&state.flags, self.selected.view.is_recent(state.uid));
                self.selected.view.tell(state);
            }
            FetchItem::Uid => out.text(&format!("UID {}", state.uid)),
            FetchItem::ModSeq => out.text(&format!("MODSEQ ({})", state.modseq)),
            _ => out.text(&format!("EMAILID ({})", email_object_id(account, state.email))),
        }
    }

    fn detail(&self) -> Result<&Detail, Stop> {
        self.row.detail.as_ref().ok_or_else(out_of_turn)
    }

    fn detail_item(&mut self, item: &FetchItem) -> Result<(), Stop> {
        self.begin();
        let row = self.row;
        let detail = row.detail.as_ref().ok_or_else(out_of_turn)?;
        let account = self.selected.authenticated.account.id();
        let out = &mut self.session.out;
        match item {
            FetchItem::InternalDate => out.text(&format!("INTERNALDATE {}", date_time(detail.internal_date))),
            FetchItem::SaveDate => out.text(&format!("SAVEDATE {}", date_time(detail.saved_date))),
            FetchItem::Size => out.text(&format!("RFC822.SIZE {}", detail.size_bytes)),
            FetchItem::ThreadId => {
                out.text(&format!("THREADID ({})", thread_object_id(account, detail.thread)));
            }
            shown => {
                let summary = detail.summary.as_ref().ok_or_else(out_of_turn)?;
                match shown {
                    FetchItem::Envelope => {
                        out.text("ENVELOPE ");
                        out.envelope(&summary.envelope);
                    }
                    FetchItem::Body => {
                        out.text("BODY ");
                        out.structure(&summary.structure, false);
                    }
                    FetchItem::BodyStructure => {
                        out.text("BODYSTRUCTURE ");
                        out.structure(&summary.structure, true);
                    }
                    _ => {
                        out.text("PREVIEW ");
                        out.string(summary.preview.as_bytes());
                    }
                }
            }
        }
        Ok(())
    }

    async fn content_item(&mut self, item: &FetchItem) -> Result<(), Stop> {
        let whole = |text| Section { path: Vec::new(), text };
        match item {
            FetchItem::Rfc822 => {
                self.begin();
                self.session.out.text("RFC822 ");
                let size = self.detail()?.size_bytes;
                content::octets(self.session, self.content.ok_or_else(out_of_turn)?, 0..size).await
            }
            FetchItem::Rfc822Header => self.section("RFC822.HEADER", &whole(SectionText::Header), None).await,
            FetchItem::Rfc822Text => self.section("RFC822.TEXT", &whole(SectionText::Text), None).await,
            FetchItem::Section { section, partial, .. } => self.section("", section, *partial).await,
            FetchItem::Binary { path, partial, .. } => self.binary(path, Some(*partial)).await,
            FetchItem::BinarySize { path } => self.binary(path, None).await,
            _ => Err(out_of_turn()),
        }
    }

    /// Writes a section, under an old name or under its own.
    async fn section(&mut self, name: &str, section: &Section, partial: Option<(u64, u64)>) -> Result<(), Stop> {
        self.begin();
        let content = self.content.ok_or_else(out_of_turn)?;
        let row = self.row;
        let located = layout(row)?.locate(section);
        if name.is_empty() {
            self.session.out.section_name(section, partial.map(|(first, _)| first));
        } else {
            self.session.out.text(name);
        }
        self.session.out.text(" ");
        match (located, &section.text) {
            (Located::Octets(range), _) => content::octets(self.session, content, window(&range, partial)).await,
            (Located::Fields(range), SectionText::HeaderFields { names, not }) => {
                let transform = || Transform::Fields(HeaderFields::new(names, *not));
                content::transformed(self.session, content, range, transform, partial, false).await
            }
            _ => {
                self.session.out.text("NIL");
                Ok(())
            }
        }
    }

    /// Writes a part decoded, or only its size (`partial` is `None`).
    async fn binary(&mut self, path: &[u32], partial: Option<Option<(u64, u64)>>) -> Result<(), Stop> {
        let content = self.content.ok_or_else(out_of_turn)?;
        let row = self.row;
        let layout = layout(row)?;
        let node = layout.node(path);
        let encoding: &[u8] = match node {
            Some(Node::Part(part)) => &part.encoding,
            _ => b"",
        };
        if Decoder::of(encoding).is_none() {
            // RFC 3516 4.3: the item is left out and the command ends with NO.
            self.progress.unknown_encoding = true;
            return Ok(());
        }
        self.begin();
        let transform = || Transform::Decoded(Decoder::of(encoding).unwrap_or(Decoder::Identity));
        match (partial, node) {
            (None, None) => {
                self.session.out.binary_name("BINARY.SIZE", path, None);
                self.session.out.text(" 0");
            }
            (None, Some(node)) => {
                let size = content::size(content, layout.body(node), transform()).await?;
                self.session.out.binary_name("BINARY.SIZE", path, None);
                self.session.out.text(&format!(" {size}"));
            }
            (Some(partial), node) => {
                self.session.out.binary_name("BINARY", path, partial.map(|(first, _)| first));
                self.session.out.text(" ");
                let Some(node) = node else {
                    self.session.out.text("NIL");
                    return Ok(());
                };
                content::transformed(self.session, content, layout.body(node), transform, partial, true).await?;
            }
        }
        Ok(())
    }
}

fn layout(row: &Row) -> Result<Layout<'_>, Stop> {
    let detail = row.detail.as_ref().ok_or_else(out_of_turn)?;
    Ok(Layout {
        summary: detail.summary.as_deref().ok_or_else(out_of_turn)?,
        prefix_size_bytes: detail.prefix_size_bytes,
        size_bytes: detail.size_bytes,
    })
}
