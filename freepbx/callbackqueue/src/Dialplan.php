<?php
// SPDX-License-Identifier: MIT

namespace FreePBX\modules\Callbackqueue;

/**
 * Adds the callbacks to the dialplan that FreePBX is about to write.
 *
 * The contexts of the service become contexts of FreePBX, so no file has to be included
 * and nothing is left when the module is gone. In the extension of a queue, steps are
 * added before its Queue() line, which itself stays as it is.
 */
class Dialplan
{
	private const QUEUES = 'ext-queues';
	/** The label of FreePBX's Queue() line. */
	private const CALL = 'qcall';
	/** The label of FreePBX's jump to the "Fail Over Destination". */
	private const AFTER = 'gotodest';
	/** The label of the step to which a caller is put back in line. */
	private const BACK = 'callbackreturn';
	/** The argument of Queue() that names a macro, until Asterisk 20. */
	private const MACRO_ARGUMENT = 6;
	/** Takes line breaks out of a caller's number before queue_log has it. */
	private const NUMBER_FILTER = '${FILTER(0-9A-Za-z+*#@:=%._/\x20\x2d\x3b,${CALLERID(num)})}';
	/** Variables that FreePBX sets before Queue() and the agents' extensions need. */
	private const FOR_AGENTS = [
		'QCONTEXT', 'DIAL_OPTIONS', 'RVOL', 'RVOLPARENT', 'RVOL_MODE', 'QAINFO', 'ALERT_INFO',
		'CWIGNORE', 'CFIGNORE', 'FORWARD_CONTEXT', 'SIGNORE', 'MONITOR_OPTIONS',
	];
	/** The same for queues whose agents confirm calls. */
	private const FOR_CONFIRMING = [
		'QC_CONFIRM', 'FORCE_CONFIRM', 'SHARED(ANSWER_STATUS)', 'CALLCONFIRMCID', 'ALT_CONFIRM_MSG',
	];

	private $ext;
	private string $asterisk;
	/** @var array<string, string> the context of the keys, by queue */
	private array $contexts = [];

	/**
	 * @param object $ext FreePBX's dialplan
	 * @param string $asterisk the version of Asterisk
	 */
	public function __construct($ext, string $asterisk)
	{
		$this->ext = $ext;
		$this->asterisk = $asterisk;
	}

	/** Adds the contexts of dialplan/callback-queue.conf. */
	public function addContexts(string $conf): void
	{
		$context = $extension = '';
		foreach (explode("\n", $conf) as $number => $line) {
			if (trim($line) === '' || $line[0] === ';') {
				continue;
			}
			if (preg_match('/^\[([\w-]+)\]$/', $line, $found)) {
				$context = $found[1];
				$this->ext->addSectionNoCustom($context, true);
			} elseif (preg_match('/^exten => ([^,]+),1(?:\((\w+)\))?,(.+)$/', $line, $found)) {
				$extension = $found[1];
				$this->ext->add($context, $extension, $found[2], new \extension($found[3]));
			} elseif (preg_match('/^ same => n(?:\((\w+)\))?,(.+)$/', $line, $found)) {
				$this->ext->add($context, $extension, $found[1], new \extension($found[2]));
			} else {
				throw new \Exception(sprintf('callback-queue.conf:%d: unknown line: %s', $number + 1, $line));
			}
		}
	}

	/**
	 * Adds the callbacks of one queue.
	 *
	 * @param string $breakOut the context of FreePBX's "IVR Break Out Menu"; empty: none
	 * @param bool $confirms whether the queue's agents confirm calls
	 * @return string[] what is missing in FreePBX's dialplan
	 */
	public function addQueue(string $queue, QueueSettings $settings, string $breakOut, bool $confirms): array
	{
		$this->addKeys($queue, $settings->key, $breakOut);
		$this->addBeforeQueue($queue, $settings->did, $confirms);
		$hasAfter = $this->find($queue, self::AFTER) !== null;
		$this->ext->addSectionNoCustom('callback-after-queue', true);
		$end = $hasAfter ? new \ext_goto(self::AFTER, $queue, self::QUEUES) : new \ext_hangup('');
		$this->add('callback-after-queue', $queue, $end);
		if ($this->find($queue, self::CALL) === null) {
			return [sprintf(_('queue %s: FreePBX has written no step "%s": please report this with the version of the module queues'), $queue, self::CALL)];
		}
		$this->addWayBack($queue, $hasAfter);
		return [];
	}

	/** Returns the context that the queue's callers reach with their keys. */
	public function contextOf(string $queue): string
	{
		return $this->contexts[$queue];
	}

	/** The key leads to a request; other keys to the queue's break-out menu, if it has one. */
	private function addKeys(string $queue, string $key, string $breakOut): void
	{
		if ($key === '1' && $breakOut === '') {
			$this->contexts[$queue] = 'callback-request';
			return;
		}
		$context = "callback-keys-$queue";
		$this->contexts[$queue] = $context;
		$this->ext->addSectionNoCustom($context, true);
		$target = $key === '1' ? ['callback-request', '1'] : ['callback-key', $key];
		$this->add($context, $key, new \ext_goto('1', $target[1], $target[0]));
		// The key of an offer by the service.
		$this->add($context, 'D', new \ext_goto('1', 'D', 'callback-request'));
		if ($breakOut !== '') {
			$this->ext->addInclude($context, $breakOut);
		}
	}

	/** Does for a callback what FreePBX does for each call before its queue. */
	private function addBeforeQueue(string $queue, string $did, bool $confirms): void
	{
		$context = 'callback-before-queue';
		$this->ext->addSectionNoCustom($context, true);
		$add = fn ($command) => $this->add($context, $queue, $command);
		// Without it FreePBX rings no agent.
		$add(new \ext_setvar('__NODEST', '${EXTEN}'));
		// Without these an agent's voicemail could take the callback.
		$add(new \ext_setvar('__BLKVM_CHANNEL', '${CHANNEL}'));
		$add(new \ext_setvar('SHARED(BLKVM,${CHANNEL})', 'TRUE'));
		$add(new \ext_setvar('__FROMQUEUEEXTEN', '${CALLERID(num)}'));
		// The rules for calls from outside apply to the agent's extension.
		$add(new \ext_setvar('__CALLTYPE_OVERRIDE', 'external'));
		if ($did !== '') {
			$add(new \ext_setvar('__FROM_DID', $did));
			$add(new \ext_queuelog($queue, '${UNIQUEID}', 'NONE', 'DID', $did));
		}
		$names = array_merge(self::FOR_AGENTS, $confirms ? self::FOR_CONFIRMING : []);
		$sets = '/^(?:ExecIf\(.*\?)?Set\(_{0,2}(?:' . implode('|', array_map('preg_quote', $names)) . ')=/';
		foreach ($this->before($queue) as $command) {
			$text = (string) $command->output();
			if (str_starts_with($text, 'Gosub(sub-record-check,')) {
				// It names the recording after this number.
				$add(new \ext_setvar('__REALCALLERIDNUM', '${CALLERID(num)}'));
				$add($command);
			} elseif (preg_match($sets, $text)) {
				$add($command);
			}
		}
		$add(new \ext_return(''));
	}

	/** A caller whose request is not accepted comes back to the queue's own line. */
	private function addWayBack(string $queue, bool $hasAfter): void
	{
		$this->repairQueueLine($queue);
		$insert = fn ($command, $label = '') => $this->ext->splice(self::QUEUES, $queue, self::CALL, $command, $label);
		$insert(new \ext_setvar('CALLERID(num)', self::NUMBER_FILTER));
		$insert(new \ext_setvar('CALLBACK_RETURN', self::QUEUES . ",$queue," . self::BACK));
		$insert(new \ext_setvar('CALLBACK_POSITION', ''));
		$insert(new \ext_setvar('CALLBACK_OWN_POSITION', '${QPOSITION}'));
		$insert(new \ext_setvar('CALLBACK_MAXWAIT', '${QMAXWAIT}'));
		$insert(new \ext_setvar('CALLBACK_JOINED_AT', '${EPOCH}'));
		$insert(new \ext_execif('$["${CALLBACK_POSITION}" != ""]', 'Set', 'QPOSITION=${CALLBACK_POSITION}'), self::BACK);
		// The rest of "Max Wait Time", and one second at least.
		$insert(new \ext_execif(
			'$[0${CALLBACK_MAXWAIT} > 0]',
			'Set',
			'QMAXWAIT=$[0${CALLBACK_MAXWAIT} + ${CALLBACK_JOINED_AT} - ${EPOCH}]'
		));
		$insert(new \ext_execif('$[0${CALLBACK_MAXWAIT} > 0 & 0${QMAXWAIT} < 1]', 'Set', 'QMAXWAIT=1'));
		if ($hasAfter) {
			// The call may continue to another queue.
			$this->ext->splice(self::QUEUES, $queue, self::AFTER, new \ext_setvar('CALLBACK_RETURN', ''));
			$this->ext->splice(self::QUEUES, $queue, self::AFTER, new \ext_setvar('QPOSITION', '${CALLBACK_OWN_POSITION}'));
		}
	}

	/**
	 * Removes the macro argument, which Queue() has only until Asterisk 20.
	 *
	 * The module queues before 17.0.1.11 writes it always. On Asterisk 21 and later, the
	 * arguments after it are then one place too far behind.
	 */
	private function repairQueueLine(string $queue): void
	{
		$line = (string) $this->find($queue, self::CALL)->output();
		if (version_compare($this->asterisk, '21', '<') || !preg_match('/^Queue\((.*)\)$/s', $line, $found)) {
			return;
		}
		$arguments = self::split($found[1]);
		if (count($arguments) < 10 || $arguments[self::MACRO_ARGUMENT] !== '') {
			return;
		}
		unset($arguments[self::MACRO_ARGUMENT]);
		$repaired = new \extension('Queue(' . implode(',', $arguments) . ')');
		$this->ext->replace(self::QUEUES, $queue, self::CALL, $repaired);
	}

	/** @return string[] the arguments of an application; commas in brackets separate none */
	private static function split(string $arguments): array
	{
		$parts = [''];
		$depth = 0;
		foreach (str_split($arguments) as $char) {
			$depth += match ($char) {
				'(', '{', '[' => 1,
				')', '}', ']' => -1,
				default => 0,
			};
			if ($char === ',' && $depth === 0) {
				$parts[] = '';
			} else {
				$parts[count($parts) - 1] .= $char;
			}
		}
		return $parts;
	}

	private function add(string $context, string $extension, $command): void
	{
		$this->ext->add($context, $extension, '', $command);
	}

	/** @return object|null the command at a label of a queue's extension */
	private function find(string $queue, string $label)
	{
		foreach ($this->steps($queue) as $step) {
			if (($step['tag'] ?? '') === $label) {
				return $step['cmd'];
			}
		}
		return null;
	}

	/** @return object[] the commands before the Queue() line */
	private function before(string $queue): array
	{
		$commands = [];
		foreach ($this->steps($queue) as $step) {
			if (($step['tag'] ?? '') === self::CALL) {
				break;
			}
			$commands[] = $step['cmd'];
		}
		return $commands;
	}

	private function steps(string $queue): array
	{
		// FreePBX writes spaces around names of extensions, so that PHP keeps them text.
		return $this->ext->_exts[self::QUEUES][" $queue "] ?? [];
	}
}
