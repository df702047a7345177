-- The last lines of the containers of stopped tasks; removed with the task.
create table task_log_tails (
    task_id text not null,
    container text not null,
    -- lines, each with its time before it
    content text not null,
    constraint task_log_tails_pk primary key (task_id, container)
);

-- Events about tasks are many and are removed when they are old; the cleanup finds them here.
create index events_task_changed on events (sequence) where kind = 'task.changed';
