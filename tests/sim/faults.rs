//! What goes wrong: partitions, cut links, and crashes that forget what was not synced.

use crate::links::{Link, Partition};
use crate::scenario::Fault;
use crate::world::{Event, World};

/// The most that a station takes to notice that a link closed, in milliseconds.
const NOTICED_MS: i64 = 80;

/// The least and the most that connecting takes; so what closed before was noticed before.
const CONNECTING_MS: (i64, i64) = (100, 600);

impl World {
    pub(crate) fn on_fault(&mut self, fault: Fault) {
        match fault {
            Fault::Crash { station, is_while_writing, down_ms } => {
                if is_while_writing {
                    self.stations[station].crash_when_writing = Some(down_ms);
                } else {
                    let life = self.stations[station].life;
                    self.on_crash(station, life, down_ms);
                }
            }
            Fault::Partition { sides, silent_ms, lasts_ms } => {
                self.totals.partitions += 1;
                self.line(format_args!("partition {sides:?}, noticed after {silent_ms} ms, lasts {lasts_ms} ms"));
                self.links.partition = Some(Partition { sides, is_silent: silent_ms > 0 });
                if silent_ms > 0 && silent_ms < lasts_ms {
                    self.after(silent_ms, Event::Detected);
                }
                self.after(lasts_ms, Event::Healed);
                self.update_links();
            }
            Fault::Cut { link, lasts_ms } => {
                self.line(format_args!("link {link:?} is cut"));
                self.links.cut.insert(link);
                self.after(lasts_ms, Event::Mended { link });
                self.update_links();
            }
        }
    }

    pub(crate) fn on_detected(&mut self) {
        if let Some(partition) = &mut self.links.partition {
            partition.is_silent = false;
        }
        self.line(format_args!("the partition is noticed"));
        self.update_links();
    }

    pub(crate) fn on_healed(&mut self) {
        self.links.partition = None;
        self.line(format_args!("the partition is over"));
        self.update_links();
    }

    pub(crate) fn on_mended(&mut self, link: (usize, usize)) {
        self.links.cut.remove(&link);
        self.line(format_args!("link {link:?} is mended"));
        self.update_links();
    }

    /// Opens and closes links, and tells whom it concerns.
    pub(crate) fn update_links(&mut self) {
        let is_running: Vec<bool> = self.stations.iter().map(|station| station.running.is_some()).collect();
        for (link, before) in self.links.update(&is_running) {
            let Link { is_open, epoch, is_told, .. } = before;
            if !is_open {
                let delay = self.network.between(CONNECTING_MS.0, CONNECTING_MS.1);
                self.after(delay, Event::Connected { link, epoch: epoch + 1 });
            } else if is_told {
                for (station, peer) in [link, (link.1, link.0)] {
                    let (delay, life) = (self.network.between(0, NOTICED_MS), self.stations[station].life);
                    self.after(delay, Event::Disconnected { station, life, peer });
                }
            }
        }
    }

    /// The power of a station fails: it forgets everything but what its disk kept.
    pub(crate) fn on_crash(&mut self, station: usize, life: u32, down_ms: i64) {
        if self.stations[station].life != life || self.stations[station].running.take().is_none() {
            return;
        }
        self.stations[station].life += 1;
        self.tasks.drop_of(station);
        self.exchanges.retain(|_, exchange| exchange.from != station);
        self.clients.forget(station);
        let lost = self.stations[station].disk.crash(&mut self.disks);
        self.totals.crashes += 1;
        self.totals.crashes_with_loss += u64::from(lost.transitions > 0);
        self.line(format_args!("s{station} crashes and loses {} transitions", lost.transitions));
        let id = self.stations[station].id;
        for batch in &lost.own_batches {
            if self.clients.has_left(batch.id()) {
                let sequence = batch.sequence();
                self.fail(format_args!("s{station} lost its batch {sequence}, which others had heard of"));
            }
        }
        for block in lost.blocks.iter().filter(|block| block.header().producer == id) {
            if self.clients.was_announced(block.hash()) && !self.stations[station].has_block(&block.hash()) {
                self.fail(format_args!("s{station} lost its block {}, which it had announced", block.hash()));
            }
        }
        self.after(down_ms, Event::Start { station });
        self.update_links();
    }
}
