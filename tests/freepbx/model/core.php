<?php
// SPDX-License-Identifier: MIT

/**
 * A small model of the contexts that FreePBX's modules core and callrecording write, as far
 * as calls to a queue and its agents use them.
 */

function core_do_get_config($engine)
{
	global $ext;
	$write = function (string $context, string $extension, array $steps) use ($ext) {
		$ext->addSectionNoCustom($context, true);
		foreach ($steps as $label => $step) {
			$ext->add($context, $extension, is_string($label) ? $label : '', new extension($step));
		}
	};
	$write('macro-user-callerid', 's', ['Return()']);
	// An agent's voicemail is blocked until an agent has answered.
	$write('macro-blkvm-set', 's', [
		'Set(__BLKVM_CHANNEL=${CHANNEL})',
		'Set(SHARED(BLKVM,${CHANNEL})=TRUE)',
		'Return(TRUE)',
	]);
	$write('macro-blkvm-clr', 's', ['Set(SHARED(BLKVM,${BLKVM_CHANNEL})=)', 'Return()']);
	$write('macro-auto-blkvm', 's', [
		'Set(SHARED(BLKVM,${BLKVM_CHANNEL})=)',
		'UserEvent(Unblocked)',
		'Return()',
	]);
	// Members refuse a call that did not come through the queue's own extension.
	$write('from-queue', '_X.', [
		'Set(QAGENT=${EXTEN})',
		'GotoIf($["${NODEST}" = ""]?refused)',
		'GotoIf($[${DIALPLAN_EXISTS(from-queue,${NODEST},1)}]?${NODEST},1)',
		'refused' => 'Hangup()',
	]);
	foreach (World::$given['queues'] as $queue) {
		$write('from-queue', $queue['number'], ['Goto(ext-local,${QAGENT},1)']);
	}
	foreach (World::$given['phones'] ?? [] as $number => $device) {
		$ext->addHint('ext-local', $number, $device);
		$write('ext-local', (string) $number, [
			'UserEvent(AgentLeg,Signore: ${SIGNORE},Type: ${CALLTYPE_OVERRIDE},DID: ${FROM_DID},Confirm: ${FORCE_CONFIRM})',
			"Dial($device,2,\${DIAL_OPTIONS})",
			'GotoIf($["${SHARED(BLKVM,${BLKVM_CHANNEL})}" = "TRUE"]?blocked)',
			'Answer()',
			'UserEvent(Voicemail)',
			'Wait(20)',
			'blocked' => 'Hangup()',
		]);
	}
	$write('from-internal', '_X.', ['Goto(outbound-routes,${EXTEN},1)']);
	$write('app-blackhole', 'hangup', ['UserEvent(FailOver,Position: ${QPOSITION},Return: ${CALLBACK_RETURN})', 'Hangup()']);
	$write('ivr-1', '7', ['UserEvent(BreakOut)', 'Hangup()']);

	// A recording is named after the caller, but only if nothing was prepared before.
	$write('sub-record-cancel', 's', ['Return()']);
	$write('sub-record-check', 's', [
		'GotoIf($[${LEN(${FROMEXTEN})}]?initialized)',
		'Set(__TIMESTR=${STRFTIME(${EPOCH},,%Y%m%d-%H%M%S)})',
		'Set(__FROMEXTEN=${IF($[${LEN(${REALCALLERIDNUM})}]?${REALCALLERIDNUM}:unknown)})',
		'initialized' => 'GotoIf($["${ARG3}" = "force"]?record)',
		'Return()',
		'record' => 'Set(__CALLFILENAME=${ARG1}-${ARG2}-${FROMEXTEN}-${TIMESTR}-${UNIQUEID})',
		'MixMonitor(${CALLFILENAME}.wav)',
		'Set(__REC_STATUS=RECORDING)',
		'Return()',
	]);
}
