//! What the engine holds in memory: the records, what was last seen of Docker, and what is under way. No IO.

use super::StaleEpoch;
use crate::diff::{Action, Planes, View};
use crate::ledger::{Loaded, ServerState};
use crate::record::{Phase, TaskRecord};
use crate::runtime::{Found, Sighting};
use api::agent::PollResponse;
use model::Timestamp;
use model::ids::TaskId;
use std::collections::{BTreeMap, BTreeSet};
use tokio_util::sync::CancellationToken;

/// A task and what the engine is doing about it.
pub(super) struct Tracked {
    pub record: TaskRecord,
    pub action: Option<(Action, CancellationToken)>,
    /// Not in the ledger yet as it is here.
    dirty: bool,
    /// When it last changed, on the engine's own count: a list begun before knows less.
    changed: u64,
}

/// Everything in memory.
#[derive(Default)]
#[expect(clippy::struct_excessive_bools, reason = "each is a fact of its own, and none excludes another")]
pub(super) struct State {
    pub tasks: BTreeMap<TaskId, Tracked>,
    /// Labelled containers by Docker id, as last listed.
    pub found: BTreeMap<String, Found>,
    pub server: ServerState,
    /// The server's complete set was taken since this start.
    pub complete: bool,
    /// Docker was listed since this start.
    pub listed: bool,
    /// Containers known to be removed, with the count of that moment: an older list may still show them.
    gone: BTreeMap<String, u64>,
    forgotten: Vec<TaskId>,
    server_dirty: bool,
    new_orders: bool,
    count: u64,
}

/// What a pass writes to the ledger.
#[derive(Clone, Default)]
pub(super) struct Batch {
    pub records: Vec<TaskRecord>,
    pub forgotten: Vec<TaskId>,
    pub server: Option<ServerState>,
    pub has_new_orders: bool,
}

impl Batch {
    pub fn is_empty(&self) -> bool {
        self.records.is_empty() && self.forgotten.is_empty() && self.server.is_none()
    }
}

impl State {
    pub fn new(loaded: Loaded) -> Self {
        let tracked = |record: TaskRecord| (record.order.task_id.clone(), Tracked { record, action: None, dirty: false, changed: 0 });
        Self { tasks: loaded.records.into_iter().map(tracked).collect(), server: loaded.server, ..Self::default() }
    }

    /// Takes a poll's answer; one of a lower epoch than was heard before changes nothing.
    pub fn take(&mut self, response: &PollResponse, planes: &Planes, now: Timestamp) -> Result<(), StaleEpoch> {
        if response.epoch < self.server.epoch {
            return Err(StaleEpoch { got: response.epoch, held: self.server.epoch });
        }
        if response.epoch > self.server.epoch {
            (self.server.epoch, self.server_dirty) = (response.epoch, true);
        }
        for order in &response.tasks {
            self.take_order(order, planes, now);
        }
        for task in &response.settled {
            self.note(task, |record| record.settle(now));
        }
        for task in &response.unknown {
            self.note(task, |record| record.unknown = true);
        }
        self.complete |= response.complete;
        Ok(())
    }

    fn take_order(&mut self, order: &api::agent::TaskOrder, planes: &Planes, now: Timestamp) {
        self.count += 1;
        self.new_orders = true;
        if let Some(tracked) = self.tasks.get_mut(&order.task_id) {
            if tracked.record.take(order.clone()) {
                (tracked.dirty, tracked.changed) = (true, self.count);
            }
            return;
        }
        let mut record = TaskRecord::new(order.clone());
        // A ledger that was lost: what runs already is adopted, not made again.
        for found in self.found.values().filter(|found| found.owner.task_id.as_ref() == Some(&order.task_id)) {
            if found.owner.control_plane == planes.current {
                record.see(&found.owner.container, &found.id, &found.sighting, now);
            }
        }
        self.tasks.insert(order.task_id.clone(), Tracked { record, action: None, dirty: true, changed: self.count });
    }

    pub fn note<T>(&mut self, task: &TaskId, change: impl FnOnce(&mut TaskRecord) -> T) -> Option<T> {
        let tracked = self.tasks.get_mut(task)?;
        self.count += 1;
        (tracked.dirty, tracked.changed) = (true, self.count);
        Some(change(&mut tracked.record))
    }

    /// The engine's count, to be taken before a list is asked for.
    pub fn begin_list(&mut self) -> u64 {
        self.count += 1;
        self.count
    }

    /// Takes a whole list that was begun at `begun`.
    pub fn absorb(&mut self, list: Vec<Found>, begun: u64, planes: &Planes, now: Timestamp) {
        self.gone.retain(|_, at| *at > begun);
        self.found = list.into_iter().filter(|found| !self.gone.contains_key(&found.id)).map(|found| (found.id.clone(), found)).collect();
        self.listed = true;
        let mut present: BTreeSet<(&TaskId, &str)> = BTreeSet::new();
        for found in self.found.values().filter(|found| found.owner.control_plane == planes.current) {
            let Some(task) = &found.owner.task_id else { continue };
            present.insert((task, &found.owner.container));
            if let Some(tracked) = self.tasks.get_mut(task)
                && tracked.record.see(&found.owner.container, &found.id, &found.sighting, now)
            {
                (tracked.dirty, tracked.changed) = (true, tracked.changed.max(begun));
            }
        }
        for (task, tracked) in &mut self.tasks {
            if tracked.changed > begun || tracked.action.is_some() {
                continue;
            }
            let names: Vec<String> = tracked.record.containers.keys().cloned().collect();
            for name in names.iter().filter(|name| !present.contains(&(task, name.as_str()))) {
                if tracked.record.see_gone(name, now) {
                    tracked.dirty = true;
                }
            }
        }
    }

    /// A container was removed, by us or by somebody else.
    pub fn forget_container(&mut self, id: &str) {
        self.count += 1;
        self.found.remove(id);
        self.gone.insert(id.to_owned(), self.count);
    }

    pub fn forget_task(&mut self, task: &TaskId) {
        self.tasks.remove(task);
        self.forgotten.push(task.clone());
    }

    pub fn begin(&mut self, task: &TaskId, action: Action) -> CancellationToken {
        let cancel = CancellationToken::new();
        if let Some(tracked) = self.tasks.get_mut(task) {
            tracked.action = Some((action, cancel.clone()));
        }
        cancel
    }

    pub fn end(&mut self, task: &TaskId) {
        self.count += 1;
        if let Some(tracked) = self.tasks.get_mut(task) {
            (tracked.action, tracked.changed) = (None, self.count);
        }
    }

    /// Whether something is under way that changes the task's containers.
    pub fn is_busy(&self, task: &TaskId) -> bool {
        let action = self.tasks.get(task).and_then(|tracked| tracked.action.as_ref());
        action.is_some_and(|(action, _)| *action != Action::Finish)
    }

    pub fn cancel(&self, task: &TaskId) {
        if let Some((_, cancel)) = self.tasks.get(task).and_then(|tracked| tracked.action.as_ref()) {
            cancel.cancel();
        }
    }

    /// What is to be written, each record numbered anew.
    pub fn collect(&mut self, now: Timestamp) -> Batch {
        let mut records = Vec::new();
        for tracked in self.tasks.values_mut().filter(|tracked| tracked.dirty) {
            tracked.dirty = false;
            tracked.record.number(now);
            records.push(tracked.record.clone());
        }
        Batch {
            records,
            forgotten: std::mem::take(&mut self.forgotten),
            server: std::mem::take(&mut self.server_dirty).then_some(self.server),
            has_new_orders: std::mem::take(&mut self.new_orders),
        }
    }

    /// A batch that could not be written is due again.
    pub fn give_back(&mut self, batch: Batch) {
        for record in batch.records {
            if let Some(tracked) = self.tasks.get_mut(&record.order.task_id) {
                tracked.dirty = true;
            }
        }
        self.forgotten.extend(batch.forgotten);
        self.server_dirty |= batch.server.is_some();
        self.new_orders |= batch.has_new_orders;
    }

    pub fn views(&self) -> impl Iterator<Item = View<'_>> {
        self.tasks.values().map(|tracked| View { record: &tracked.record, action: tracked.action.as_ref().map(|(action, _)| *action) })
    }

    pub fn known(&self) -> BTreeMap<TaskId, i64> {
        let live = self.tasks.iter().filter(|(_, tracked)| tracked.record.settled_at.is_none());
        live.map(|(task, tracked)| (task.clone(), tracked.record.order.version)).collect()
    }

    /// Whether a task has an order that the server stands by.
    pub fn is_known(&self, task: &TaskId) -> bool {
        self.tasks.get(task).is_some_and(|tracked| !tracked.record.unknown)
    }

    pub fn reportable(&self) -> impl Iterator<Item = &TaskRecord> {
        self.tasks.values().map(|tracked| &tracked.record).filter(|record| !record.unknown && record.settled_at.is_none())
    }

    pub fn own_ports(&self) -> BTreeSet<u16> {
        let mut ports = BTreeSet::new();
        for tracked in self.tasks.values().filter(|tracked| tracked.record.stopped_at.is_none()) {
            let bound = tracked.record.containers.values().flat_map(|container| container.bindings.iter().map(|b| b.host_port));
            let ordered = tracked.record.order.definition.container_definitions.iter().flat_map(|c| &c.port_mappings);
            ports.extend(bound.chain(ordered.filter_map(|mapping| mapping.host_port)));
        }
        for found in self.found.values() {
            if let Sighting::Running { bindings } = &found.sighting {
                ports.extend(bindings.iter().map(|binding| binding.host_port));
            }
        }
        ports
    }

    pub fn containers_of(&self, task: &TaskId, container: Option<&str>) -> Vec<(String, String)> {
        let wanted = |name: &str| container.is_none_or(|only| only == name);
        if let Some(tracked) = self.tasks.get(task) {
            let made = tracked.record.containers.iter().filter(|(name, known)| wanted(name) && known.phase > Phase::Absent);
            return made.filter_map(|(name, known)| Some((name.clone(), known.runtime_id.clone()?))).collect();
        }
        let found = self.found.values().filter(|found| found.owner.task_id.as_ref() == Some(task) && wanted(&found.owner.container));
        found.map(|found| (found.owner.container.clone(), found.id.clone())).collect()
    }
}
