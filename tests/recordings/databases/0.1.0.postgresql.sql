--
-- PostgreSQL database dump
--

-- Dumped from database version 15.18 (Debian 15.18-0+deb12u1)
-- Dumped by pg_dump version 15.18 (Debian 15.18-0+deb12u1)

SET statement_timeout = 0;
SET lock_timeout = 0;
SET idle_in_transaction_session_timeout = 0;
SET client_encoding = 'UTF8';
SET standard_conforming_strings = on;
SET check_function_bodies = false;
SET xmloption = content;
SET client_min_messages = warning;
SET row_security = off;

--
-- Name: task_event_guard(); Type: FUNCTION; Schema: public; Owner: -
--

CREATE FUNCTION public.task_event_guard() RETURNS trigger
    LANGUAGE plpgsql
    AS $$ BEGIN   IF TG_OP = 'UPDATE' OR EXISTS (SELECT 1 FROM task    WHERE task.id = OLD.task_id AND task.status IN ('pending', 'calling')) THEN    RAISE EXCEPTION 'the history of a task is only ever added to' USING ERRCODE = 'check_violation';   END IF;   RETURN OLD; END $$;

SET default_tablespace = '';

SET default_table_access_method = heap;

--
-- Name: alembic_version; Type: TABLE; Schema: public; Owner: -
--

CREATE TABLE public.alembic_version (
    version_num character varying(32) NOT NULL
);

--
-- Name: asked; Type: TABLE; Schema: public; Owner: -
--

CREATE TABLE public.asked (
    event_id integer NOT NULL,
    kind text NOT NULL,
    CONSTRAINT ck_asked_kind CHECK ((kind = ANY (ARRAY['requested'::text, 'missed'::text, 'manual'::text])))
);

--
-- Name: attempt; Type: TABLE; Schema: public; Owner: -
--

CREATE TABLE public.attempt (
    id integer NOT NULL,
    task_id integer NOT NULL,
    channel_id text NOT NULL,
    started_at double precision NOT NULL,
    ended_at double precision,
    disposition text,
    member text NOT NULL,
    talk_s double precision NOT NULL,
    reason text NOT NULL,
    CONSTRAINT ck_attempt_disposition CHECK ((disposition = ANY (ARRAY['ANSWERED'::text, 'SHORT'::text, 'BUSY'::text, 'NO ANSWER'::text, 'CONGESTION'::text, 'UNAVAILABLE'::text, 'INVALID NUMBER'::text, 'CANCEL'::text, 'MEMBER NO ANSWER'::text, 'NOT PLACED'::text, 'WITHDRAWN'::text, 'UNKNOWN'::text]))),
    CONSTRAINT ck_attempt_ended CHECK (((ended_at IS NULL) = (disposition IS NULL))),
    CONSTRAINT ck_attempt_talk CHECK ((talk_s >= (0)::double precision))
);

--
-- Name: attempt_id_seq; Type: SEQUENCE; Schema: public; Owner: -
--

CREATE SEQUENCE public.attempt_id_seq
    AS integer
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1;

--
-- Name: attempt_id_seq; Type: SEQUENCE OWNED BY; Schema: public; Owner: -
--

ALTER SEQUENCE public.attempt_id_seq OWNED BY public.attempt.id;

--
-- Name: blocked; Type: TABLE; Schema: public; Owner: -
--

CREATE TABLE public.blocked (
    number_key text NOT NULL,
    number text NOT NULL,
    region text NOT NULL,
    reason text NOT NULL,
    at double precision NOT NULL,
    CONSTRAINT ck_blocked_number CHECK (((number <> ''::text) AND (number_key <> ''::text)))
);

--
-- Name: mark; Type: TABLE; Schema: public; Owner: -
--

CREATE TABLE public.mark (
    name text NOT NULL,
    at double precision NOT NULL
);

--
-- Name: position; Type: TABLE; Schema: public; Owner: -
--

CREATE TABLE public."position" (
    name text NOT NULL,
    event_id integer NOT NULL,
    entries integer NOT NULL
);

--
-- Name: refusal; Type: TABLE; Schema: public; Owner: -
--

CREATE TABLE public.refusal (
    id integer NOT NULL,
    at double precision NOT NULL,
    kind text NOT NULL,
    queue text NOT NULL,
    number text NOT NULL,
    reason text NOT NULL,
    linkedid text NOT NULL,
    CONSTRAINT ck_refusal_kind CHECK ((kind = ANY (ARRAY['requested'::text, 'missed'::text, 'manual'::text])))
);

--
-- Name: refusal_id_seq; Type: SEQUENCE; Schema: public; Owner: -
--

CREATE SEQUENCE public.refusal_id_seq
    AS integer
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1;

--
-- Name: refusal_id_seq; Type: SEQUENCE OWNED BY; Schema: public; Owner: -
--

ALTER SEQUENCE public.refusal_id_seq OWNED BY public.refusal.id;

--
-- Name: task; Type: TABLE; Schema: public; Owner: -
--

CREATE TABLE public.task (
    id integer NOT NULL,
    kind text NOT NULL,
    status text NOT NULL,
    number text NOT NULL,
    number_key text NOT NULL,
    name text NOT NULL,
    language text NOT NULL,
    queue text NOT NULL,
    linkedid text NOT NULL,
    joined_at double precision NOT NULL,
    created_at double precision NOT NULL,
    due_at double precision NOT NULL,
    expires_at double precision NOT NULL,
    ended_at double precision,
    attempts integer NOT NULL,
    member_attempts integer NOT NULL,
    reason text NOT NULL,
    cancel_requested boolean NOT NULL,
    served boolean NOT NULL,
    CONSTRAINT ck_task_attempts CHECK (((attempts >= 0) AND (member_attempts >= 0))),
    CONSTRAINT ck_task_ended CHECK (((status = ANY (ARRAY['pending'::text, 'calling'::text])) = (ended_at IS NULL))),
    CONSTRAINT ck_task_kind CHECK ((kind = ANY (ARRAY['requested'::text, 'missed'::text, 'manual'::text]))),
    CONSTRAINT ck_task_number CHECK (((number <> ''::text) AND (number_key <> ''::text))),
    CONSTRAINT ck_task_status CHECK ((status = ANY (ARRAY['pending'::text, 'calling'::text, 'completed'::text, 'failed'::text, 'expired'::text, 'cancelled'::text, 'served'::text])))
);

--
-- Name: task_event; Type: TABLE; Schema: public; Owner: -
--

CREATE TABLE public.task_event (
    id integer NOT NULL,
    task_id integer NOT NULL,
    attempt_id integer,
    at double precision NOT NULL,
    move text NOT NULL,
    status text NOT NULL,
    text text NOT NULL,
    linkedid text NOT NULL,
    CONSTRAINT ck_task_event_move CHECK ((move = ANY (ARRAY['create'::text, 'repeat'::text, 'begin'::text, 'progress'::text, 'retry'::text, 'complete'::text, 'give_up'::text, 'expire'::text, 'cancel_later'::text, 'cancel'::text, 'serve_later'::text, 'serve'::text, 'reopen'::text]))),
    CONSTRAINT ck_task_event_status CHECK ((status = ANY (ARRAY['pending'::text, 'calling'::text, 'completed'::text, 'failed'::text, 'expired'::text, 'cancelled'::text, 'served'::text])))
);

--
-- Name: task_event_id_seq; Type: SEQUENCE; Schema: public; Owner: -
--

CREATE SEQUENCE public.task_event_id_seq
    AS integer
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1;

--
-- Name: task_event_id_seq; Type: SEQUENCE OWNED BY; Schema: public; Owner: -
--

ALTER SEQUENCE public.task_event_id_seq OWNED BY public.task_event.id;

--
-- Name: task_id_seq; Type: SEQUENCE; Schema: public; Owner: -
--

CREATE SEQUENCE public.task_id_seq
    AS integer
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1;

--
-- Name: task_id_seq; Type: SEQUENCE OWNED BY; Schema: public; Owner: -
--

ALTER SEQUENCE public.task_id_seq OWNED BY public.task.id;

--
-- Name: attempt id; Type: DEFAULT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.attempt ALTER COLUMN id SET DEFAULT nextval('public.attempt_id_seq'::regclass);

--
-- Name: refusal id; Type: DEFAULT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.refusal ALTER COLUMN id SET DEFAULT nextval('public.refusal_id_seq'::regclass);

--
-- Name: task id; Type: DEFAULT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.task ALTER COLUMN id SET DEFAULT nextval('public.task_id_seq'::regclass);

--
-- Name: task_event id; Type: DEFAULT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.task_event ALTER COLUMN id SET DEFAULT nextval('public.task_event_id_seq'::regclass);

--
-- Data for Name: alembic_version; Type: TABLE DATA; Schema: public; Owner: -
--

INSERT INTO public.alembic_version VALUES ('0006');

--
-- Data for Name: asked; Type: TABLE DATA; Schema: public; Owner: -
--

INSERT INTO public.asked VALUES (1, 'requested');
INSERT INTO public.asked VALUES (2, 'requested');
INSERT INTO public.asked VALUES (3, 'missed');
INSERT INTO public.asked VALUES (4, 'requested');
INSERT INTO public.asked VALUES (5, 'requested');
INSERT INTO public.asked VALUES (51, 'requested');
INSERT INTO public.asked VALUES (53, 'manual');
INSERT INTO public.asked VALUES (55, 'requested');
INSERT INTO public.asked VALUES (56, 'requested');
INSERT INTO public.asked VALUES (64, 'requested');
INSERT INTO public.asked VALUES (70, 'requested');
INSERT INTO public.asked VALUES (76, 'requested');
INSERT INTO public.asked VALUES (77, 'requested');
INSERT INTO public.asked VALUES (78, 'missed');
INSERT INTO public.asked VALUES (79, 'manual');

--
-- Data for Name: attempt; Type: TABLE DATA; Schema: public; Owner: -
--

INSERT INTO public.attempt VALUES (3, 5, 'callback-1800000151-cd613e30', 1800000151, 1800000154, 'UNAVAILABLE', 'PJSIP/carol', 0, 'the call to the client was refused (SIP 603)');
INSERT INTO public.attempt VALUES (2, 2, 'callback-1800000151-d8f16adf', 1800000151, 1800000156, 'BUSY', 'PJSIP/alice', 0, 'the client was busy (SIP 486)');
INSERT INTO public.attempt VALUES (1, 1, 'callback-1800000151-91b7584a', 1800000151, 1800000197, 'ANSWERED', 'PJSIP/bob', 40, 'they talked for 40.0 s');
INSERT INTO public.attempt VALUES (5, 4, 'callback-1800000197-a6cecc1b', 1800000197, 1800000200, 'INVALID NUMBER', 'PJSIP/bob', 0, 'there is no such number (SIP 404)');
INSERT INTO public.attempt VALUES (4, 3, 'callback-1800000156-1e2feb89', 1800000156, 1800000204, 'NO ANSWER', 'PJSIP/alice', 0, 'the client did not answer');
INSERT INTO public.attempt VALUES (6, 5, 'callback-1800000274-0741c7a8', 1800000274, 1800000277, 'UNAVAILABLE', 'PJSIP/carol', 0, 'the call to the client was refused (SIP 603)');
INSERT INTO public.attempt VALUES (7, 2, 'callback-1800000276-63ca828d', 1800000276, 1800000322, 'ANSWERED', 'PJSIP/bob', 40, 'they talked for 40.0 s');
INSERT INTO public.attempt VALUES (8, 3, 'callback-1800000324-008a05a6', 1800000324, 1800000372, 'NO ANSWER', 'PJSIP/bob', 0, 'the client did not answer');
INSERT INTO public.attempt VALUES (9, 8, 'callback-1800002403-619699cf', 1800002403, 1800002451, 'NO ANSWER', 'PJSIP/bob', 0, 'the client did not answer');
INSERT INTO public.attempt VALUES (10, 9, 'callback-1800002723-38c0c8fd', 1800002723, 1800002726, 'BUSY', 'PJSIP/alice', 0, 'the client was busy (SIP 486)');
INSERT INTO public.attempt VALUES (11, 10, 'callback-1800002773-f06d3fef', 1800002773, NULL, NULL, 'PJSIP/alice', 0, '');

--
-- Data for Name: blocked; Type: TABLE DATA; Schema: public; Owner: -
--

INSERT INTO public.blocked VALUES ('493012345608', '03012345608', 'DE', 'calls all day', 1800002281);

--
-- Data for Name: mark; Type: TABLE DATA; Schema: public; Owner: -
--

--
-- Data for Name: position; Type: TABLE DATA; Schema: public; Owner: -
--

INSERT INTO public."position" VALUES ('queue_log', 79, 0);

--
-- Data for Name: refusal; Type: TABLE DATA; Schema: public; Owner: -
--

INSERT INTO public.refusal VALUES (1, 1800002311, 'missed', 'support', '03012345608', 'the number is blocked: calls all day', '1800002281.51');
INSERT INTO public.refusal VALUES (2, 1800002332, 'requested', 'support', '09001234567', 'it is a premium-rate number', '1800002312.53');
INSERT INTO public.refusal VALUES (3, 1800002342, 'missed', 'support', '09001234567', 'it is a premium-rate number', '1800002312.53');

--
-- Data for Name: task; Type: TABLE DATA; Schema: public; Owner: -
--

INSERT INTO public.task VALUES (1, 'requested', 'completed', '03012345601', '493012345601', 'Ann', 'en', 'support', '1800000000.1', 1800000000, 1800000020, 1800000020, 1800014420, 1800000197, 1, 0, 'they talked for 40.0 s', false, false);
INSERT INTO public.task VALUES (4, 'requested', 'failed', '03012345604', '493012345604', '', 'en', 'support', '1800000091.7', 1800000091, 1800000111, 1800000111, 1800014511, 1800000200, 1, 0, 'there is no such number (SIP 404); not tried again', false, false);
INSERT INTO public.task VALUES (5, 'requested', 'failed', '03012345605', '493012345605', '', 'en', 'sales', '1800000121.9', 1800000121, 1800000141, 1800000274, 1800000741, 1800000277, 2, 0, 'all 2 attempts used up; the call to the client was refused (SIP 603)', false, false);
INSERT INTO public.task VALUES (2, 'requested', 'completed', '03012345602', '493012345602', 'Jörg', 'en', 'support', '1800000030.3', 1800000030, 1800000050, 1800000276, 1800014450, 1800000322, 2, 0, 'they talked for 40.0 s', false, false);
INSERT INTO public.task VALUES (3, 'missed', 'failed', '03012345603', '493012345603', 'Clara', 'en', 'support', '1800000060.5', 1800000060, 1800000090, 1800000324, 1800000390, 1800000372, 2, 0, 'all 2 attempts used up; the client did not answer', false, false);
INSERT INTO public.task VALUES (6, 'requested', 'expired', '03012345606', '493012345606', 'Dora', 'en', 'sales', '1800001351.49', 1800001351, 1800001371, 1800001371, 1800001971, 1800001971, 0, 0, 'too old; it was never called', false, false);
INSERT INTO public.task VALUES (7, 'manual', 'cancelled', '+493012345607', '493012345607', '', '', 'support', '', 1800002281, 1800002281, 1800002281, 1800016681, 1800002281, 0, 0, 'by e-mail', false, false);
INSERT INTO public.task VALUES (8, 'requested', 'served', '03012345609', '493012345609', 'Emil', 'en', 'support', '1800002343.55', 1800002343, 1800002363, 1800002571, 1800016793, 1800002495, 1, 0, 'the client rang again and PJSIP/bob answered', false, false);
INSERT INTO public.task VALUES (9, 'requested', 'pending', '03012345610', '493012345610', 'Frida', 'en', 'support', '1800002693.71', 1800002693, 1800002713, 1800002846, 1800017113, NULL, 1, 0, 'the client was busy (SIP 486); next try in 120 s', false, false);
INSERT INTO public.task VALUES (10, 'requested', 'calling', '03012345611', '493012345611', 'Gustav', 'en', 'support', '1800002743.77', 1800002743, 1800002763, 1800002763, 1800017163, NULL, 0, 0, 'attempt 1 begins, channel id callback-1800002773-f06d3fef', false, false);
INSERT INTO public.task VALUES (11, 'requested', 'pending', '03012345612', '493012345612', 'Helga', 'en', 'support', '1800002793.83', 1800002793, 1800002813, 1800002813, 1800017213, NULL, 0, 0, 'the client pressed the key in queue support', false, false);
INSERT INTO public.task VALUES (12, 'requested', 'pending', '03012345613', '493012345613', 'Ivo', 'en', 'support', '1800002823.85', 1800002823, 1800002843, 1800002843, 1800017243, NULL, 0, 0, 'the client pressed the key in queue support', false, false);
INSERT INTO public.task VALUES (13, 'missed', 'pending', '03012345614', '493012345614', 'Jana', 'en', 'sales', '1800002853.87', 1800002853, 1800002883, 1800002883, 1800003183, NULL, 0, 0, 'missed call: hung up after 30 s in queue sales', false, false);
INSERT INTO public.task VALUES (14, 'manual', 'pending', '03012345615', '493012345615', 'Karl', '', 'support', '', 1800002884, 1800002884, 1800002884, 1800017284, NULL, 0, 0, 'added by hand', false, false);

--
-- Data for Name: task_event; Type: TABLE DATA; Schema: public; Owner: -
--

INSERT INTO public.task_event VALUES (1, 1, NULL, 1800000020, 'create', 'pending', 'the client pressed the key in queue support', '1800000000.1');
INSERT INTO public.task_event VALUES (2, 2, NULL, 1800000050, 'create', 'pending', 'the client pressed the key in queue support', '1800000030.3');
INSERT INTO public.task_event VALUES (3, 3, NULL, 1800000090, 'create', 'pending', 'missed call: hung up after 30 s in queue support', '1800000060.5');
INSERT INTO public.task_event VALUES (4, 4, NULL, 1800000111, 'create', 'pending', 'the client pressed the key in queue support', '1800000091.7');
INSERT INTO public.task_event VALUES (5, 5, NULL, 1800000141, 'create', 'pending', 'the client pressed the key in queue sales', '1800000121.9');
INSERT INTO public.task_event VALUES (6, 1, 1, 1800000151, 'begin', 'calling', 'attempt 1 begins, channel id callback-1800000151-91b7584a', '');
INSERT INTO public.task_event VALUES (7, 2, 2, 1800000151, 'begin', 'calling', 'attempt 1 begins, channel id callback-1800000151-d8f16adf', '');
INSERT INTO public.task_event VALUES (8, 5, 3, 1800000151, 'begin', 'calling', 'attempt 1 begins, channel id callback-1800000151-cd613e30', '');
INSERT INTO public.task_event VALUES (9, 1, 1, 1800000151, 'progress', 'calling', 'PJSIP/bob rings', '');
INSERT INTO public.task_event VALUES (10, 1, 1, 1800000151, 'progress', 'calling', 'PJSIP/alice rings', '');
INSERT INTO public.task_event VALUES (11, 5, 3, 1800000151, 'progress', 'calling', 'PJSIP/carol rings', '');
INSERT INTO public.task_event VALUES (12, 1, 1, 1800000153, 'progress', 'calling', 'PJSIP/bob answered', '');
INSERT INTO public.task_event VALUES (13, 5, 3, 1800000153, 'progress', 'calling', 'PJSIP/carol answered', '');
INSERT INTO public.task_event VALUES (14, 2, 2, 1800000153, 'progress', 'calling', 'PJSIP/alice rings', '');
INSERT INTO public.task_event VALUES (15, 1, 1, 1800000154, 'progress', 'calling', 'dialling 03012345601', '');
INSERT INTO public.task_event VALUES (16, 5, 3, 1800000154, 'progress', 'calling', 'dialling 03012345605', '');
INSERT INTO public.task_event VALUES (17, 5, 3, 1800000154, 'retry', 'pending', 'the call to the client was refused (SIP 603); next try in 120 s', '');
INSERT INTO public.task_event VALUES (18, 2, 2, 1800000155, 'progress', 'calling', 'PJSIP/alice answered', '');
INSERT INTO public.task_event VALUES (19, 2, 2, 1800000156, 'progress', 'calling', 'dialling 03012345602', '');
INSERT INTO public.task_event VALUES (20, 2, 2, 1800000156, 'retry', 'pending', 'the client was busy (SIP 486); next try in 120 s', '');
INSERT INTO public.task_event VALUES (21, 3, 4, 1800000156, 'begin', 'calling', 'attempt 1 begins, channel id callback-1800000156-1e2feb89', '');
INSERT INTO public.task_event VALUES (22, 3, 4, 1800000156, 'progress', 'calling', 'PJSIP/alice rings', '');
INSERT INTO public.task_event VALUES (23, 1, 1, 1800000157, 'progress', 'calling', 'agent and client are talking', '');
INSERT INTO public.task_event VALUES (24, 3, 4, 1800000158, 'progress', 'calling', 'PJSIP/alice answered', '');
INSERT INTO public.task_event VALUES (25, 3, 4, 1800000159, 'progress', 'calling', 'dialling 03012345603', '');
INSERT INTO public.task_event VALUES (26, 1, 1, 1800000197, 'complete', 'completed', 'they talked for 40.0 s', '');
INSERT INTO public.task_event VALUES (27, 4, 5, 1800000197, 'begin', 'calling', 'attempt 1 begins, channel id callback-1800000197-a6cecc1b', '');
INSERT INTO public.task_event VALUES (28, 4, 5, 1800000197, 'progress', 'calling', 'PJSIP/bob rings', '');
INSERT INTO public.task_event VALUES (29, 4, 5, 1800000199, 'progress', 'calling', 'PJSIP/bob answered', '');
INSERT INTO public.task_event VALUES (30, 4, 5, 1800000200, 'progress', 'calling', 'dialling 03012345604', '');
INSERT INTO public.task_event VALUES (31, 4, 5, 1800000200, 'give_up', 'failed', 'there is no such number (SIP 404); not tried again', '');
INSERT INTO public.task_event VALUES (32, 3, 4, 1800000204, 'retry', 'pending', 'the client did not answer; next try in 120 s', '');
INSERT INTO public.task_event VALUES (33, 5, 6, 1800000274, 'begin', 'calling', 'attempt 2 begins, channel id callback-1800000274-0741c7a8', '');
INSERT INTO public.task_event VALUES (34, 5, 6, 1800000274, 'progress', 'calling', 'PJSIP/carol rings', '');
INSERT INTO public.task_event VALUES (35, 5, 6, 1800000276, 'progress', 'calling', 'PJSIP/carol answered', '');
INSERT INTO public.task_event VALUES (36, 2, 7, 1800000276, 'begin', 'calling', 'attempt 2 begins, channel id callback-1800000276-63ca828d', '');
INSERT INTO public.task_event VALUES (37, 2, 7, 1800000276, 'progress', 'calling', 'PJSIP/bob rings', '');
INSERT INTO public.task_event VALUES (38, 2, 7, 1800000276, 'progress', 'calling', 'PJSIP/alice rings', '');
INSERT INTO public.task_event VALUES (39, 5, 6, 1800000277, 'progress', 'calling', 'dialling 03012345605', '');
INSERT INTO public.task_event VALUES (40, 5, 6, 1800000277, 'give_up', 'failed', 'all 2 attempts used up; the call to the client was refused (SIP 603)', '');
INSERT INTO public.task_event VALUES (41, 2, 7, 1800000278, 'progress', 'calling', 'PJSIP/bob answered', '');
INSERT INTO public.task_event VALUES (42, 2, 7, 1800000279, 'progress', 'calling', 'dialling 03012345602', '');
INSERT INTO public.task_event VALUES (43, 2, 7, 1800000282, 'progress', 'calling', 'agent and client are talking', '');
INSERT INTO public.task_event VALUES (44, 2, 7, 1800000322, 'complete', 'completed', 'they talked for 40.0 s', '');
INSERT INTO public.task_event VALUES (45, 3, 8, 1800000324, 'begin', 'calling', 'attempt 2 begins, channel id callback-1800000324-008a05a6', '');
INSERT INTO public.task_event VALUES (46, 3, 8, 1800000324, 'progress', 'calling', 'PJSIP/bob rings', '');
INSERT INTO public.task_event VALUES (47, 3, 8, 1800000324, 'progress', 'calling', 'PJSIP/alice rings', '');
INSERT INTO public.task_event VALUES (48, 3, 8, 1800000326, 'progress', 'calling', 'PJSIP/bob answered', '');
INSERT INTO public.task_event VALUES (49, 3, 8, 1800000327, 'progress', 'calling', 'dialling 03012345603', '');
INSERT INTO public.task_event VALUES (50, 3, 8, 1800000372, 'give_up', 'failed', 'all 2 attempts used up; the client did not answer', '');
INSERT INTO public.task_event VALUES (51, 6, NULL, 1800001371, 'create', 'pending', 'the client pressed the key in queue sales', '1800001351.49');
INSERT INTO public.task_event VALUES (52, 6, NULL, 1800001971, 'expire', 'expired', 'too old; it was never called', '');
INSERT INTO public.task_event VALUES (53, 7, NULL, 1800002281, 'create', 'pending', 'added by hand', '');
INSERT INTO public.task_event VALUES (54, 7, NULL, 1800002281, 'cancel', 'cancelled', 'by e-mail', '');
INSERT INTO public.task_event VALUES (55, 8, NULL, 1800002363, 'create', 'pending', 'the client pressed the key in queue support', '1800002343.55');
INSERT INTO public.task_event VALUES (56, 8, NULL, 1800002393, 'repeat', 'pending', 'the client pressed the key in queue support', '1800002373.57');
INSERT INTO public.task_event VALUES (57, 8, 9, 1800002403, 'begin', 'calling', 'attempt 1 begins, channel id callback-1800002403-619699cf', '');
INSERT INTO public.task_event VALUES (58, 8, 9, 1800002403, 'progress', 'calling', 'PJSIP/bob rings', '');
INSERT INTO public.task_event VALUES (59, 8, 9, 1800002403, 'progress', 'calling', 'PJSIP/alice rings', '');
INSERT INTO public.task_event VALUES (60, 8, 9, 1800002405, 'progress', 'calling', 'PJSIP/bob answered', '');
INSERT INTO public.task_event VALUES (61, 8, 9, 1800002406, 'progress', 'calling', 'dialling 03012345609', '');
INSERT INTO public.task_event VALUES (62, 8, 9, 1800002451, 'retry', 'pending', 'the client did not answer; next try in 120 s', '');
INSERT INTO public.task_event VALUES (63, 8, NULL, 1800002495, 'serve', 'served', 'the client rang again and PJSIP/bob answered', '');
INSERT INTO public.task_event VALUES (64, 9, NULL, 1800002713, 'create', 'pending', 'the client pressed the key in queue support', '1800002693.71');
INSERT INTO public.task_event VALUES (65, 9, 10, 1800002723, 'begin', 'calling', 'attempt 1 begins, channel id callback-1800002723-38c0c8fd', '');
INSERT INTO public.task_event VALUES (66, 9, 10, 1800002723, 'progress', 'calling', 'PJSIP/alice rings', '');
INSERT INTO public.task_event VALUES (67, 9, 10, 1800002725, 'progress', 'calling', 'PJSIP/alice answered', '');
INSERT INTO public.task_event VALUES (68, 9, 10, 1800002726, 'progress', 'calling', 'dialling 03012345610', '');
INSERT INTO public.task_event VALUES (69, 9, 10, 1800002726, 'retry', 'pending', 'the client was busy (SIP 486); next try in 120 s', '');
INSERT INTO public.task_event VALUES (70, 10, NULL, 1800002763, 'create', 'pending', 'the client pressed the key in queue support', '1800002743.77');
INSERT INTO public.task_event VALUES (71, 10, 11, 1800002773, 'begin', 'calling', 'attempt 1 begins, channel id callback-1800002773-f06d3fef', '');
INSERT INTO public.task_event VALUES (72, 10, 11, 1800002773, 'progress', 'calling', 'PJSIP/alice rings', '');
INSERT INTO public.task_event VALUES (73, 10, 11, 1800002775, 'progress', 'calling', 'PJSIP/alice answered', '');
INSERT INTO public.task_event VALUES (74, 10, 11, 1800002776, 'progress', 'calling', 'dialling 03012345611', '');
INSERT INTO public.task_event VALUES (75, 10, 11, 1800002779, 'progress', 'calling', 'agent and client are talking', '');
INSERT INTO public.task_event VALUES (76, 11, NULL, 1800002813, 'create', 'pending', 'the client pressed the key in queue support', '1800002793.83');
INSERT INTO public.task_event VALUES (77, 12, NULL, 1800002843, 'create', 'pending', 'the client pressed the key in queue support', '1800002823.85');
INSERT INTO public.task_event VALUES (78, 13, NULL, 1800002883, 'create', 'pending', 'missed call: hung up after 30 s in queue sales', '1800002853.87');
INSERT INTO public.task_event VALUES (79, 14, NULL, 1800002884, 'create', 'pending', 'added by hand', '');

--
-- Name: attempt_id_seq; Type: SEQUENCE SET; Schema: public; Owner: -
--

SELECT pg_catalog.setval('public.attempt_id_seq', 11, true);

--
-- Name: refusal_id_seq; Type: SEQUENCE SET; Schema: public; Owner: -
--

SELECT pg_catalog.setval('public.refusal_id_seq', 3, true);

--
-- Name: task_event_id_seq; Type: SEQUENCE SET; Schema: public; Owner: -
--

SELECT pg_catalog.setval('public.task_event_id_seq', 79, true);

--
-- Name: task_id_seq; Type: SEQUENCE SET; Schema: public; Owner: -
--

SELECT pg_catalog.setval('public.task_id_seq', 14, true);

--
-- Name: alembic_version alembic_version_pkc; Type: CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.alembic_version
    ADD CONSTRAINT alembic_version_pkc PRIMARY KEY (version_num);

--
-- Name: asked pk_asked; Type: CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.asked
    ADD CONSTRAINT pk_asked PRIMARY KEY (event_id);

--
-- Name: attempt pk_attempt; Type: CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.attempt
    ADD CONSTRAINT pk_attempt PRIMARY KEY (id);

--
-- Name: blocked pk_blocked; Type: CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.blocked
    ADD CONSTRAINT pk_blocked PRIMARY KEY (number_key);

--
-- Name: mark pk_mark; Type: CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.mark
    ADD CONSTRAINT pk_mark PRIMARY KEY (name);

--
-- Name: position pk_position; Type: CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public."position"
    ADD CONSTRAINT pk_position PRIMARY KEY (name);

--
-- Name: refusal pk_refusal; Type: CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.refusal
    ADD CONSTRAINT pk_refusal PRIMARY KEY (id);

--
-- Name: task pk_task; Type: CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.task
    ADD CONSTRAINT pk_task PRIMARY KEY (id);

--
-- Name: task_event pk_task_event; Type: CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.task_event
    ADD CONSTRAINT pk_task_event PRIMARY KEY (id);

--
-- Name: attempt uq_attempt_channel_id; Type: CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.attempt
    ADD CONSTRAINT uq_attempt_channel_id UNIQUE (channel_id);

--
-- Name: ix_attempt_started_at; Type: INDEX; Schema: public; Owner: -
--

CREATE INDEX ix_attempt_started_at ON public.attempt USING btree (started_at);

--
-- Name: ix_attempt_task_id; Type: INDEX; Schema: public; Owner: -
--

CREATE INDEX ix_attempt_task_id ON public.attempt USING btree (task_id);

--
-- Name: ix_task_event_linkedid; Type: INDEX; Schema: public; Owner: -
--

CREATE INDEX ix_task_event_linkedid ON public.task_event USING btree (linkedid) WHERE (linkedid <> ''::text);

--
-- Name: ix_task_event_task_id; Type: INDEX; Schema: public; Owner: -
--

CREATE INDEX ix_task_event_task_id ON public.task_event USING btree (task_id);

--
-- Name: ix_task_number_key; Type: INDEX; Schema: public; Owner: -
--

CREATE INDEX ix_task_number_key ON public.task USING btree (number_key);

--
-- Name: ix_task_pending_expires_at; Type: INDEX; Schema: public; Owner: -
--

CREATE INDEX ix_task_pending_expires_at ON public.task USING btree (expires_at) WHERE (status = 'pending'::text);

--
-- Name: ix_task_queue_status_due_at; Type: INDEX; Schema: public; Owner: -
--

CREATE INDEX ix_task_queue_status_due_at ON public.task USING btree (queue, status, due_at);

--
-- Name: uq_attempt_under_way_task_id; Type: INDEX; Schema: public; Owner: -
--

CREATE UNIQUE INDEX uq_attempt_under_way_task_id ON public.attempt USING btree (task_id) WHERE (ended_at IS NULL);

--
-- Name: uq_task_open_number_key; Type: INDEX; Schema: public; Owner: -
--

CREATE UNIQUE INDEX uq_task_open_number_key ON public.task USING btree (number_key) WHERE (status = ANY (ARRAY['pending'::text, 'calling'::text]));

--
-- Name: task_event task_event_guard; Type: TRIGGER; Schema: public; Owner: -
--

CREATE TRIGGER task_event_guard BEFORE DELETE OR UPDATE ON public.task_event FOR EACH ROW EXECUTE FUNCTION public.task_event_guard();

--
-- Name: asked fk_asked_event_id_task_event; Type: FK CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.asked
    ADD CONSTRAINT fk_asked_event_id_task_event FOREIGN KEY (event_id) REFERENCES public.task_event(id) ON DELETE CASCADE;

--
-- Name: attempt fk_attempt_task_id_task; Type: FK CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.attempt
    ADD CONSTRAINT fk_attempt_task_id_task FOREIGN KEY (task_id) REFERENCES public.task(id);

--
-- Name: task_event fk_task_event_attempt_id_attempt; Type: FK CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.task_event
    ADD CONSTRAINT fk_task_event_attempt_id_attempt FOREIGN KEY (attempt_id) REFERENCES public.attempt(id);

--
-- Name: task_event fk_task_event_task_id_task; Type: FK CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.task_event
    ADD CONSTRAINT fk_task_event_task_id_task FOREIGN KEY (task_id) REFERENCES public.task(id);

--
-- PostgreSQL database dump complete
--


