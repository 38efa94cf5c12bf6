<?php
// SPDX-License-Identifier: MIT

/**
 * A small model of FreePBX's module "queues": its page, its settings, and the dialplan and
 * queues_additional.conf that it writes.
 */

namespace FreePBX\modules {
	class Queues
	{
		private $FreePBX;

		public function __construct($freepbx = null)
		{
			$this->FreePBX = $freepbx;
		}

		public function listQueues($listall = false)
		{
			return array_map(fn ($queue) => [$queue['number'], $queue['name']], \World::$given['queues']);
		}

		/** The tabs of other modules, as the page of a queue shows them. */
		public function hookTabs()
		{
			$tabs = $content = '';
			foreach ($this->FreePBX->Hooks->processHooks() as $sections) {
				foreach ($sections as ['title' => $title, 'rawname' => $name, 'content' => $html]) {
					$tabs .= "<li><a href=\"#queuehook$name\">$title</a></li>";
					$content .= "<div id=\"queuehook$name\">$html</div>";
				}
			}
			return ['hookTabs' => $tabs, 'hookContent' => $content, 'oldHooks' => ''];
		}
	}
}

namespace {
	function queues_get($account, $queues_conf_only = false)
	{
		foreach (World::$given['queues'] as $queue) {
			if ($queue['number'] === (string) $account) {
				return $queue + ['context' => '', 'periodic-announce' => '', 'callconfirm' => '0'];
			}
		}
		return [];
	}

	/** Collects lines of other modules for queues.conf. */
	class queues_conf
	{
		private static ?queues_conf $it = null;
		private array $more = [];

		public static function create()
		{
			return self::$it ??= new queues_conf();
		}

		public function addQueuesAdditional($section, $key, $value)
		{
			$this->more[$section][] = "$key=$value";
		}

		public function generateConf($file)
		{
			$text = '';
			foreach (World::$given['queues'] as $queue) {
				$lines = [
					'strategy=linear', 'timeout=15', 'retry=1', 'wrapuptime=0', 'autofill=yes',
					'ringinuse=no', 'joinempty=yes', 'leavewhenempty=no',
					'periodic-announce-frequency=0',
				];
				// Nothing is written for an empty value, except for this one.
				$lines[] = 'context=' . ($queue['context'] ?? '');
				foreach ($queue['members'] ?? [] as $member) {
					$lines[] = "member=$member";
				}
				$lines = array_merge($lines, $this->more[$queue['number']] ?? []);
				$text .= "[{$queue['number']}]\n" . implode("\n", $lines) . "\n\n";
			}
			return $text;
		}
	}

	/** Writes the extension of each queue, in the order of the real one. */
	function queues_get_config($engine)
	{
		global $ext;
		foreach (World::$given['queues'] as $queue) {
			$number = $queue['number'];
			$add = fn ($command, $label = '') => $ext->add('ext-queues', $number, $label, $command);
			$set = fn ($name, $value) => new ext_set($name, $value);
			$own = fn ($name, $value) => new ext_set("Q$name", "\${IF(\$[\${LEN(\${VQ_$name})}>0]?\${VQ_$name}:$value)}");
			$isExtensionOnly = ($queue['use_queue_context'] ?? '0') === '2';
			$confirms = $queue['callconfirm'] ?? '0';

			$add(new ext_macro('user-callerid'));
			$add(new ext_answer(''));
			$add($set('__FROMQUEUEEXTEN', '${CALLERID(number)}'));
			if (!$isExtensionOnly) {
				$add(new ext_macro('blkvm-set', 'reset'));
				$add(new ext_execif(
					'$["${REGEX("(U[(]macro-auto-blkvm[)])" ${DIAL_OPTIONS})}" != "1"]',
					'Set',
					'_DIAL_OPTIONS=${DIAL_OPTIONS}U(macro-auto-blkvm)'
				));
			}
			$add($set('__NODEST', '${EXTEN}'));
			$add($set('__QCONTEXT', $queue['use_queue_context'] ?? '0'));
			$add($own('AINFO', $queue['alertinfo'] ?? ' '));
			$add($set('VQ_AINFO', ''));
			$add($set('__RVOL_MODE', 'dontcare'));
			$add(new ext_execif('$["${QAINFO}"!=""]', 'Set', '__ALERT_INFO=${QAINFO}'));
			$add($own('OPTIONS', $queue['options'] ?? 't'), 'qoptions');
			$add($set('VQ_OPTIONS', ''));
			foreach (['GOSUB' => 'qgosub', 'AGI' => 'qagi', 'RULE' => 'qrule', 'POSITION' => 'qposition'] as $name => $label) {
				$add($own($name, "\${Q$name}"), $label);
				$add($set("VQ_$name", ''));
			}
			$add(new ext_gosub('1', 's', 'sub-record-check', "q,$number," . ($queue['recording'] ?? 'dontcare')));
			if (($queue['cwignore'] ?? '0') !== '0') {
				$add(new ext_setvar('__CWIGNORE', 'TRUE'));
			}
			if (($queue['use_queue_context'] ?? '0') !== '0') {
				$add(new ext_setvar('__CFIGNORE', 'TRUE'));
				$add(new ext_setvar('__FORWARD_CONTEXT', 'block-cf'));
			}
			$add(new ext_setvar('__SIGNORE', 'TRUE'));
			$add(new ext_setvar('__QC_CONFIRM', $confirms));
			$add(new ext_gotoif('$[$["${QC_CONFIRM}"="1"] | $[${LEN(${VQ_CONFIRMMSG})}>1]]', 'QVQANNOUNCE', 'NOQVQANNOUNCE'));
			$add(new ext_setvar('__FORCE_CONFIRM', '${CHANNEL}'), 'QVQANNOUNCE');
			$add(new ext_setvar('__CALLCONFIRMCID', '${CALLERID(number)}'));
			$add($set('VQ_CONFIRMMSG', ''), 'NOQVQANNOUNCE');
			$add(new ext_queuelog($number, '${UNIQUEID}', 'NONE', 'DID', '${FROM_DID}'));
			$add($own('AANNOUNCE', ' '));
			$add($own('MAXWAIT', $queue['maxwait'] ?? ' '));
			$add($set('VQ_MAXWAIT', ''));
			$add($set('QUEUENUM', $number));
			$add($set('QUEUEJOINTIME', '${EPOCH}'));
			$line = [$number, '${QOPTIONS}', '', '${QAANNOUNCE}', '${QMAXWAIT}', '${QAGI}', '', '${QGOSUB}', '${QRULE}', '${QPOSITION}'];
			// Until 17.0.1.10 the macro argument was written also for Asterisk 21 and later.
			$isMended = version_compare(World::$given['queues_version'], '17.0.1.11', 'ge');
			if ($isMended && version_compare(World::$given['asterisk'], '21', 'ge')) {
				unset($line[6]);
			}
			$add($isMended ? new extension('Queue(' . implode(',', $line) . ')') : new ext_queue(...$line), World::$given['label'] ?? 'qcall');
			if (!$isExtensionOnly) {
				$add(new ext_macro('blkvm-clr'));
			}
			$add(new ext_gosub('1', 's', 'sub-record-cancel'));
			$add(new ext_setvar('__NODEST', ''));
			$add(new ext_setvar('_QUEUE_PRIO', '0'));
			$add($set('QDEST', '${VQ_DEST}'));
			$add($set('VQ_DEST', ''));
			$add(new ext_gotoif(
				'$["${QDEST}"=""]',
				$queue['goto'] ?? 'app-blackhole,hangup,1',
				'${CUT(QDEST,^,1)},${CUT(QDEST,^,2)},${CUT(QDEST,^,3)}'
			), 'gotodest');
		}
	}
}
