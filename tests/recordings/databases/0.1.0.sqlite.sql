BEGIN TRANSACTION;
CREATE TABLE alembic_version (
	version_num VARCHAR(32) NOT NULL, 
	CONSTRAINT alembic_version_pkc PRIMARY KEY (version_num)
);
INSERT INTO "alembic_version" VALUES('0006');
CREATE TABLE asked (
	event_id INTEGER NOT NULL, 
	kind TEXT NOT NULL, 
	CONSTRAINT pk_asked PRIMARY KEY (event_id), 
	CONSTRAINT ck_asked_kind CHECK (kind IN ('requested', 'missed', 'manual')), 
	CONSTRAINT fk_asked_event_id_task_event FOREIGN KEY(event_id) REFERENCES task_event (id) ON DELETE CASCADE
);
INSERT INTO "asked" VALUES(1,'requested');
INSERT INTO "asked" VALUES(2,'requested');
INSERT INTO "asked" VALUES(3,'missed');
INSERT INTO "asked" VALUES(4,'requested');
INSERT INTO "asked" VALUES(5,'requested');
INSERT INTO "asked" VALUES(51,'requested');
INSERT INTO "asked" VALUES(53,'manual');
INSERT INTO "asked" VALUES(55,'requested');
INSERT INTO "asked" VALUES(56,'requested');
INSERT INTO "asked" VALUES(64,'requested');
INSERT INTO "asked" VALUES(70,'requested');
INSERT INTO "asked" VALUES(76,'requested');
INSERT INTO "asked" VALUES(77,'requested');
INSERT INTO "asked" VALUES(78,'missed');
INSERT INTO "asked" VALUES(79,'manual');
CREATE TABLE "attempt" (
	id INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT, 
	task_id INTEGER NOT NULL, 
	channel_id TEXT NOT NULL, 
	started_at DOUBLE NOT NULL, 
	ended_at DOUBLE, 
	disposition TEXT, 
	member TEXT NOT NULL, 
	talk_s DOUBLE NOT NULL, 
	reason TEXT NOT NULL, 
	CONSTRAINT ck_attempt_talk CHECK (talk_s >= 0), 
	CONSTRAINT fk_attempt_task_id_task FOREIGN KEY(task_id) REFERENCES task (id), 
	CONSTRAINT ck_attempt_ended CHECK ((ended_at IS NULL) = (disposition IS NULL)), 
	CONSTRAINT uq_attempt_channel_id UNIQUE (channel_id), 
	CONSTRAINT ck_attempt_disposition CHECK (disposition IN ('ANSWERED', 'SHORT', 'BUSY', 'NO ANSWER', 'CONGESTION', 'UNAVAILABLE', 'INVALID NUMBER', 'CANCEL', 'MEMBER NO ANSWER', 'NOT PLACED', 'WITHDRAWN', 'UNKNOWN'))
);
INSERT INTO "attempt" VALUES(1,1,'callback-1800000151-91b7584a',1800000151.0,1800000197.0,'ANSWERED','PJSIP/bob',40.0,'they talked for 40.0 s');
INSERT INTO "attempt" VALUES(2,2,'callback-1800000151-d8f16adf',1800000151.0,1800000156.0,'BUSY','PJSIP/alice',0.0,'the client was busy (SIP 486)');
INSERT INTO "attempt" VALUES(3,5,'callback-1800000151-cd613e30',1800000151.0,1800000154.0,'UNAVAILABLE','PJSIP/carol',0.0,'the call to the client was refused (SIP 603)');
INSERT INTO "attempt" VALUES(4,3,'callback-1800000156-1e2feb89',1800000156.0,1800000204.0,'NO ANSWER','PJSIP/alice',0.0,'the client did not answer');
INSERT INTO "attempt" VALUES(5,4,'callback-1800000197-a6cecc1b',1800000197.0,1800000200.0,'INVALID NUMBER','PJSIP/bob',0.0,'there is no such number (SIP 404)');
INSERT INTO "attempt" VALUES(6,5,'callback-1800000274-0741c7a8',1800000274.0,1800000277.0,'UNAVAILABLE','PJSIP/carol',0.0,'the call to the client was refused (SIP 603)');
INSERT INTO "attempt" VALUES(7,2,'callback-1800000276-63ca828d',1800000276.0,1800000322.0,'ANSWERED','PJSIP/bob',40.0,'they talked for 40.0 s');
INSERT INTO "attempt" VALUES(8,3,'callback-1800000324-008a05a6',1800000324.0,1800000372.0,'NO ANSWER','PJSIP/bob',0.0,'the client did not answer');
INSERT INTO "attempt" VALUES(9,8,'callback-1800002403-619699cf',1800002403.0,1800002451.0,'NO ANSWER','PJSIP/bob',0.0,'the client did not answer');
INSERT INTO "attempt" VALUES(10,9,'callback-1800002723-38c0c8fd',1800002723.0,1800002726.0,'BUSY','PJSIP/alice',0.0,'the client was busy (SIP 486)');
INSERT INTO "attempt" VALUES(11,10,'callback-1800002773-f06d3fef',1800002773.0,NULL,NULL,'PJSIP/alice',0.0,'');
CREATE TABLE blocked (
	number_key TEXT NOT NULL, 
	number TEXT NOT NULL, 
	region TEXT NOT NULL, 
	reason TEXT NOT NULL, 
	at DOUBLE NOT NULL, 
	CONSTRAINT pk_blocked PRIMARY KEY (number_key), 
	CONSTRAINT ck_blocked_number CHECK (number <> '' AND number_key <> '')
);
INSERT INTO "blocked" VALUES('493012345608','03012345608','DE','calls all day',1800002281.0);
CREATE TABLE mark (
	name TEXT NOT NULL, 
	at DOUBLE NOT NULL, 
	CONSTRAINT pk_mark PRIMARY KEY (name)
);
CREATE TABLE position (
	name TEXT NOT NULL, 
	event_id INTEGER NOT NULL, 
	entries INTEGER NOT NULL, 
	CONSTRAINT pk_position PRIMARY KEY (name)
);
INSERT INTO "position" VALUES('queue_log',79,0);
CREATE TABLE refusal (
	id INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT, 
	at DOUBLE NOT NULL, 
	kind TEXT NOT NULL, 
	queue TEXT NOT NULL, 
	number TEXT NOT NULL, 
	reason TEXT NOT NULL, 
	linkedid TEXT NOT NULL, 
	CONSTRAINT ck_refusal_kind CHECK (kind IN ('requested', 'missed', 'manual'))
);
INSERT INTO "refusal" VALUES(1,1800002311.0,'missed','support','03012345608','the number is blocked: calls all day','1800002281.51');
INSERT INTO "refusal" VALUES(2,1800002332.0,'requested','support','09001234567','it is a premium-rate number','1800002312.53');
INSERT INTO "refusal" VALUES(3,1800002342.0,'missed','support','09001234567','it is a premium-rate number','1800002312.53');
CREATE TABLE task (
	id INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT, 
	kind TEXT NOT NULL, 
	status TEXT NOT NULL, 
	number TEXT NOT NULL, 
	number_key TEXT NOT NULL, 
	name TEXT NOT NULL, 
	language TEXT NOT NULL, 
	queue TEXT NOT NULL, 
	linkedid TEXT NOT NULL, 
	joined_at DOUBLE NOT NULL, 
	created_at DOUBLE NOT NULL, 
	due_at DOUBLE NOT NULL, 
	expires_at DOUBLE NOT NULL, 
	ended_at DOUBLE, 
	attempts INTEGER NOT NULL, 
	member_attempts INTEGER NOT NULL, 
	reason TEXT NOT NULL, 
	cancel_requested BOOLEAN NOT NULL, 
	served BOOLEAN NOT NULL, 
	CONSTRAINT ck_task_kind CHECK (kind IN ('requested', 'missed', 'manual')), 
	CONSTRAINT ck_task_status CHECK (status IN ('pending', 'calling', 'completed', 'failed', 'expired', 'cancelled', 'served')), 
	CONSTRAINT ck_task_ended CHECK ((status IN ('pending', 'calling')) = (ended_at IS NULL)), 
	CONSTRAINT ck_task_number CHECK (number <> '' AND number_key <> ''), 
	CONSTRAINT ck_task_attempts CHECK (attempts >= 0 AND member_attempts >= 0), 
	CONSTRAINT ck_task_cancel_requested CHECK (cancel_requested IN (0, 1)), 
	CONSTRAINT ck_task_served CHECK (served IN (0, 1))
);
INSERT INTO "task" VALUES(1,'requested','completed','03012345601','493012345601','Ann','en','support','1800000000.1',1800000000.0,1800000020.0,1800000020.0,1800014420.0,1800000197.0,1,0,'they talked for 40.0 s',0,0);
INSERT INTO "task" VALUES(2,'requested','completed','03012345602','493012345602','Jörg','en','support','1800000030.3',1800000030.0,1800000050.0,1800000276.0,1800014450.0,1800000322.0,2,0,'they talked for 40.0 s',0,0);
INSERT INTO "task" VALUES(3,'missed','failed','03012345603','493012345603','Clara','en','support','1800000060.5',1800000060.0,1800000090.0,1800000324.0,1800000390.0,1800000372.0,2,0,'all 2 attempts used up; the client did not answer',0,0);
INSERT INTO "task" VALUES(4,'requested','failed','03012345604','493012345604','','en','support','1800000091.7',1800000091.0,1800000111.0,1800000111.0,1800014511.0,1800000200.0,1,0,'there is no such number (SIP 404); not tried again',0,0);
INSERT INTO "task" VALUES(5,'requested','failed','03012345605','493012345605','','en','sales','1800000121.9',1800000121.0,1800000141.0,1800000274.0,1800000741.0,1800000277.0,2,0,'all 2 attempts used up; the call to the client was refused (SIP 603)',0,0);
INSERT INTO "task" VALUES(6,'requested','expired','03012345606','493012345606','Dora','en','sales','1800001351.49',1800001351.0,1800001371.0,1800001371.0,1800001971.0,1800001971.0,0,0,'too old; it was never called',0,0);
INSERT INTO "task" VALUES(7,'manual','cancelled','+493012345607','493012345607','','','support','',1800002281.0,1800002281.0,1800002281.0,1800016681.0,1800002281.0,0,0,'by e-mail',0,0);
INSERT INTO "task" VALUES(8,'requested','served','03012345609','493012345609','Emil','en','support','1800002343.55',1800002343.0,1800002363.0,1800002571.0,1800016793.0,1800002495.0,1,0,'the client rang again and PJSIP/bob answered',0,0);
INSERT INTO "task" VALUES(9,'requested','pending','03012345610','493012345610','Frida','en','support','1800002693.71',1800002693.0,1800002713.0,1800002846.0,1800017113.0,NULL,1,0,'the client was busy (SIP 486); next try in 120 s',0,0);
INSERT INTO "task" VALUES(10,'requested','calling','03012345611','493012345611','Gustav','en','support','1800002743.77',1800002743.0,1800002763.0,1800002763.0,1800017163.0,NULL,0,0,'attempt 1 begins, channel id callback-1800002773-f06d3fef',0,0);
INSERT INTO "task" VALUES(11,'requested','pending','03012345612','493012345612','Helga','en','support','1800002793.83',1800002793.0,1800002813.0,1800002813.0,1800017213.0,NULL,0,0,'the client pressed the key in queue support',0,0);
INSERT INTO "task" VALUES(12,'requested','pending','03012345613','493012345613','Ivo','en','support','1800002823.85',1800002823.0,1800002843.0,1800002843.0,1800017243.0,NULL,0,0,'the client pressed the key in queue support',0,0);
INSERT INTO "task" VALUES(13,'missed','pending','03012345614','493012345614','Jana','en','sales','1800002853.87',1800002853.0,1800002883.0,1800002883.0,1800003183.0,NULL,0,0,'missed call: hung up after 30 s in queue sales',0,0);
INSERT INTO "task" VALUES(14,'manual','pending','03012345615','493012345615','Karl','','support','',1800002884.0,1800002884.0,1800002884.0,1800017284.0,NULL,0,0,'added by hand',0,0);
CREATE TABLE task_event (
	id INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT, 
	task_id INTEGER NOT NULL, 
	attempt_id INTEGER, 
	at DOUBLE NOT NULL, 
	move TEXT NOT NULL, 
	status TEXT NOT NULL, 
	text TEXT NOT NULL, 
	linkedid TEXT NOT NULL, 
	CONSTRAINT ck_task_event_move CHECK (move IN ('create', 'repeat', 'begin', 'progress', 'retry', 'complete', 'give_up', 'expire', 'cancel_later', 'cancel', 'serve_later', 'serve', 'reopen')), 
	CONSTRAINT ck_task_event_status CHECK (status IN ('pending', 'calling', 'completed', 'failed', 'expired', 'cancelled', 'served')), 
	CONSTRAINT fk_task_event_task_id_task FOREIGN KEY(task_id) REFERENCES task (id), 
	CONSTRAINT fk_task_event_attempt_id_attempt FOREIGN KEY(attempt_id) REFERENCES attempt (id)
);
INSERT INTO "task_event" VALUES(1,1,NULL,1800000020.0,'create','pending','the client pressed the key in queue support','1800000000.1');
INSERT INTO "task_event" VALUES(2,2,NULL,1800000050.0,'create','pending','the client pressed the key in queue support','1800000030.3');
INSERT INTO "task_event" VALUES(3,3,NULL,1800000090.0,'create','pending','missed call: hung up after 30 s in queue support','1800000060.5');
INSERT INTO "task_event" VALUES(4,4,NULL,1800000111.0,'create','pending','the client pressed the key in queue support','1800000091.7');
INSERT INTO "task_event" VALUES(5,5,NULL,1800000141.0,'create','pending','the client pressed the key in queue sales','1800000121.9');
INSERT INTO "task_event" VALUES(6,1,1,1800000151.0,'begin','calling','attempt 1 begins, channel id callback-1800000151-91b7584a','');
INSERT INTO "task_event" VALUES(7,2,2,1800000151.0,'begin','calling','attempt 1 begins, channel id callback-1800000151-d8f16adf','');
INSERT INTO "task_event" VALUES(8,5,3,1800000151.0,'begin','calling','attempt 1 begins, channel id callback-1800000151-cd613e30','');
INSERT INTO "task_event" VALUES(9,1,1,1800000151.0,'progress','calling','PJSIP/bob rings','');
INSERT INTO "task_event" VALUES(10,1,1,1800000151.0,'progress','calling','PJSIP/alice rings','');
INSERT INTO "task_event" VALUES(11,5,3,1800000151.0,'progress','calling','PJSIP/carol rings','');
INSERT INTO "task_event" VALUES(12,1,1,1800000153.0,'progress','calling','PJSIP/bob answered','');
INSERT INTO "task_event" VALUES(13,5,3,1800000153.0,'progress','calling','PJSIP/carol answered','');
INSERT INTO "task_event" VALUES(14,2,2,1800000153.0,'progress','calling','PJSIP/alice rings','');
INSERT INTO "task_event" VALUES(15,1,1,1800000154.0,'progress','calling','dialling 03012345601','');
INSERT INTO "task_event" VALUES(16,5,3,1800000154.0,'progress','calling','dialling 03012345605','');
INSERT INTO "task_event" VALUES(17,5,3,1800000154.0,'retry','pending','the call to the client was refused (SIP 603); next try in 120 s','');
INSERT INTO "task_event" VALUES(18,2,2,1800000155.0,'progress','calling','PJSIP/alice answered','');
INSERT INTO "task_event" VALUES(19,2,2,1800000156.0,'progress','calling','dialling 03012345602','');
INSERT INTO "task_event" VALUES(20,2,2,1800000156.0,'retry','pending','the client was busy (SIP 486); next try in 120 s','');
INSERT INTO "task_event" VALUES(21,3,4,1800000156.0,'begin','calling','attempt 1 begins, channel id callback-1800000156-1e2feb89','');
INSERT INTO "task_event" VALUES(22,3,4,1800000156.0,'progress','calling','PJSIP/alice rings','');
INSERT INTO "task_event" VALUES(23,1,1,1800000157.0,'progress','calling','agent and client are talking','');
INSERT INTO "task_event" VALUES(24,3,4,1800000158.0,'progress','calling','PJSIP/alice answered','');
INSERT INTO "task_event" VALUES(25,3,4,1800000159.0,'progress','calling','dialling 03012345603','');
INSERT INTO "task_event" VALUES(26,1,1,1800000197.0,'complete','completed','they talked for 40.0 s','');
INSERT INTO "task_event" VALUES(27,4,5,1800000197.0,'begin','calling','attempt 1 begins, channel id callback-1800000197-a6cecc1b','');
INSERT INTO "task_event" VALUES(28,4,5,1800000197.0,'progress','calling','PJSIP/bob rings','');
INSERT INTO "task_event" VALUES(29,4,5,1800000199.0,'progress','calling','PJSIP/bob answered','');
INSERT INTO "task_event" VALUES(30,4,5,1800000200.0,'progress','calling','dialling 03012345604','');
INSERT INTO "task_event" VALUES(31,4,5,1800000200.0,'give_up','failed','there is no such number (SIP 404); not tried again','');
INSERT INTO "task_event" VALUES(32,3,4,1800000204.0,'retry','pending','the client did not answer; next try in 120 s','');
INSERT INTO "task_event" VALUES(33,5,6,1800000274.0,'begin','calling','attempt 2 begins, channel id callback-1800000274-0741c7a8','');
INSERT INTO "task_event" VALUES(34,5,6,1800000274.0,'progress','calling','PJSIP/carol rings','');
INSERT INTO "task_event" VALUES(35,5,6,1800000276.0,'progress','calling','PJSIP/carol answered','');
INSERT INTO "task_event" VALUES(36,2,7,1800000276.0,'begin','calling','attempt 2 begins, channel id callback-1800000276-63ca828d','');
INSERT INTO "task_event" VALUES(37,2,7,1800000276.0,'progress','calling','PJSIP/bob rings','');
INSERT INTO "task_event" VALUES(38,2,7,1800000276.0,'progress','calling','PJSIP/alice rings','');
INSERT INTO "task_event" VALUES(39,5,6,1800000277.0,'progress','calling','dialling 03012345605','');
INSERT INTO "task_event" VALUES(40,5,6,1800000277.0,'give_up','failed','all 2 attempts used up; the call to the client was refused (SIP 603)','');
INSERT INTO "task_event" VALUES(41,2,7,1800000278.0,'progress','calling','PJSIP/bob answered','');
INSERT INTO "task_event" VALUES(42,2,7,1800000279.0,'progress','calling','dialling 03012345602','');
INSERT INTO "task_event" VALUES(43,2,7,1800000282.0,'progress','calling','agent and client are talking','');
INSERT INTO "task_event" VALUES(44,2,7,1800000322.0,'complete','completed','they talked for 40.0 s','');
INSERT INTO "task_event" VALUES(45,3,8,1800000324.0,'begin','calling','attempt 2 begins, channel id callback-1800000324-008a05a6','');
INSERT INTO "task_event" VALUES(46,3,8,1800000324.0,'progress','calling','PJSIP/bob rings','');
INSERT INTO "task_event" VALUES(47,3,8,1800000324.0,'progress','calling','PJSIP/alice rings','');
INSERT INTO "task_event" VALUES(48,3,8,1800000326.0,'progress','calling','PJSIP/bob answered','');
INSERT INTO "task_event" VALUES(49,3,8,1800000327.0,'progress','calling','dialling 03012345603','');
INSERT INTO "task_event" VALUES(50,3,8,1800000372.0,'give_up','failed','all 2 attempts used up; the client did not answer','');
INSERT INTO "task_event" VALUES(51,6,NULL,1800001371.0,'create','pending','the client pressed the key in queue sales','1800001351.49');
INSERT INTO "task_event" VALUES(52,6,NULL,1800001971.0,'expire','expired','too old; it was never called','');
INSERT INTO "task_event" VALUES(53,7,NULL,1800002281.0,'create','pending','added by hand','');
INSERT INTO "task_event" VALUES(54,7,NULL,1800002281.0,'cancel','cancelled','by e-mail','');
INSERT INTO "task_event" VALUES(55,8,NULL,1800002363.0,'create','pending','the client pressed the key in queue support','1800002343.55');
INSERT INTO "task_event" VALUES(56,8,NULL,1800002393.0,'repeat','pending','the client pressed the key in queue support','1800002373.57');
INSERT INTO "task_event" VALUES(57,8,9,1800002403.0,'begin','calling','attempt 1 begins, channel id callback-1800002403-619699cf','');
INSERT INTO "task_event" VALUES(58,8,9,1800002403.0,'progress','calling','PJSIP/bob rings','');
INSERT INTO "task_event" VALUES(59,8,9,1800002403.0,'progress','calling','PJSIP/alice rings','');
INSERT INTO "task_event" VALUES(60,8,9,1800002405.0,'progress','calling','PJSIP/bob answered','');
INSERT INTO "task_event" VALUES(61,8,9,1800002406.0,'progress','calling','dialling 03012345609','');
INSERT INTO "task_event" VALUES(62,8,9,1800002451.0,'retry','pending','the client did not answer; next try in 120 s','');
INSERT INTO "task_event" VALUES(63,8,NULL,1800002495.0,'serve','served','the client rang again and PJSIP/bob answered','');
INSERT INTO "task_event" VALUES(64,9,NULL,1800002713.0,'create','pending','the client pressed the key in queue support','1800002693.71');
INSERT INTO "task_event" VALUES(65,9,10,1800002723.0,'begin','calling','attempt 1 begins, channel id callback-1800002723-38c0c8fd','');
INSERT INTO "task_event" VALUES(66,9,10,1800002723.0,'progress','calling','PJSIP/alice rings','');
INSERT INTO "task_event" VALUES(67,9,10,1800002725.0,'progress','calling','PJSIP/alice answered','');
INSERT INTO "task_event" VALUES(68,9,10,1800002726.0,'progress','calling','dialling 03012345610','');
INSERT INTO "task_event" VALUES(69,9,10,1800002726.0,'retry','pending','the client was busy (SIP 486); next try in 120 s','');
INSERT INTO "task_event" VALUES(70,10,NULL,1800002763.0,'create','pending','the client pressed the key in queue support','1800002743.77');
INSERT INTO "task_event" VALUES(71,10,11,1800002773.0,'begin','calling','attempt 1 begins, channel id callback-1800002773-f06d3fef','');
INSERT INTO "task_event" VALUES(72,10,11,1800002773.0,'progress','calling','PJSIP/alice rings','');
INSERT INTO "task_event" VALUES(73,10,11,1800002775.0,'progress','calling','PJSIP/alice answered','');
INSERT INTO "task_event" VALUES(74,10,11,1800002776.0,'progress','calling','dialling 03012345611','');
INSERT INTO "task_event" VALUES(75,10,11,1800002779.0,'progress','calling','agent and client are talking','');
INSERT INTO "task_event" VALUES(76,11,NULL,1800002813.0,'create','pending','the client pressed the key in queue support','1800002793.83');
INSERT INTO "task_event" VALUES(77,12,NULL,1800002843.0,'create','pending','the client pressed the key in queue support','1800002823.85');
INSERT INTO "task_event" VALUES(78,13,NULL,1800002883.0,'create','pending','missed call: hung up after 30 s in queue sales','1800002853.87');
INSERT INTO "task_event" VALUES(79,14,NULL,1800002884.0,'create','pending','added by hand','');
CREATE UNIQUE INDEX uq_task_open_number_key ON task (number_key) WHERE status IN ('pending', 'calling');
CREATE INDEX ix_task_queue_status_due_at ON task (queue, status, due_at);
CREATE INDEX ix_task_pending_expires_at ON task (expires_at) WHERE status = 'pending';
CREATE INDEX ix_task_number_key ON task (number_key);
CREATE INDEX ix_task_event_task_id ON task_event (task_id);
CREATE INDEX ix_task_event_linkedid ON task_event (linkedid) WHERE linkedid <> '';
CREATE TRIGGER task_event_update BEFORE UPDATE ON task_event BEGIN SELECT RAISE(ABORT, 'the history of a task is only ever added to'); END;
CREATE TRIGGER task_event_delete BEFORE DELETE ON task_event WHEN EXISTS (SELECT 1 FROM task WHERE task.id = OLD.task_id AND task.status IN ('pending', 'calling')) BEGIN SELECT RAISE(ABORT, 'the history of a task is only ever added to'); END;
CREATE INDEX ix_attempt_started_at ON attempt (started_at);
CREATE UNIQUE INDEX uq_attempt_under_way_task_id ON attempt (task_id) WHERE ended_at IS NULL;
CREATE INDEX ix_attempt_task_id ON attempt (task_id);
DELETE FROM "sqlite_sequence";
INSERT INTO "sqlite_sequence" VALUES('attempt',11);
INSERT INTO "sqlite_sequence" VALUES('task',14);
INSERT INTO "sqlite_sequence" VALUES('task_event',79);
INSERT INTO "sqlite_sequence" VALUES('refusal',3);
COMMIT;
