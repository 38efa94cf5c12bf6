<?php
// SPDX-License-Identifier: MIT

// The page "Queue Callback". Given: $settings, $problems, $hasToken, $queues, $withCallbacks, $state.

$h = fn ($text) => htmlspecialchars((string) $text, ENT_QUOTES);
$fields = [
	'outbound' => [_('Way outside'), _('How clients are dialled, with {number} for the number. Local/{number}@from-internal/n takes the outbound routes.')],
	'service' => [_('Service'), _('The address and port where the service listens: fastagi in its settings.')],
	'when_down' => [_('If the service is down'), _('"return": callers who press the key go on waiting. "keep": Asterisk stores their requests.')],
	'directory' => [_('Settings directory'), _('Where the module writes freepbx.yaml: include: queues: in the settings of the service.')],
	'console' => [_('Console'), _('The address of callback-queue web, as this server reaches it.')],
	'token' => [_('Token'), _('Made with: callback-queue web token add freepbx --scope tasks:read --scope numbers:read')],
];
$live = array_column($state['queues'], null, 'name');
?>
<div class="container-fluid">
	<h1><?= $h(_('Queue Callback')) ?></h1>
<?php if ($settings['console'] !== '') { ?>
	<p><a href="<?= $h($settings['console']) ?>" target="_blank" rel="noopener"><?= $h(_('Open the console')) ?></a></p>
<?php } ?>
<?php foreach ($problems as $problem) { ?>
	<div class="alert alert-danger"><?= $h($problem) ?></div>
<?php } ?>
<?php if ($state['problem'] !== '') { ?>
	<div class="alert alert-warning"><?= $h($state['problem']) ?></div>
<?php } ?>
	<h2><?= $h(_('Queues')) ?></h2>
	<table class="table table-striped">
		<thead><tr>
			<th><?= $h(_('Queue')) ?></th><th><?= $h(_('Callback')) ?></th><th><?= $h(_('Waiting')) ?></th>
			<th><?= $h(_('Callbacks')) ?></th><th><?= $h(_('Free agents')) ?></th>
		</tr></thead>
		<tbody>
<?php foreach ($queues as $number => $name) { ?>
<?php
	$has = isset($withCallbacks[(string) $number]);
	$now = $live[(string) $number] ?? null;
	$isMissing = $has && $now === null && $state['problem'] === '';
?>
			<tr>
				<td><a href="?display=queues&amp;view=form&amp;extdisplay=<?= $h(rawurlencode((string) $number)) ?>"><?= $h("$number $name") ?></a></td>
				<td><?= $h($has ? _('Yes') : _('No')) ?><?php if ($isMissing) { ?>
					<span class="text-danger"><?= $h(_('the service does not know it: run "callback-queue check --settings" as root')) ?></span><?php } ?></td>
				<td><?= $h($now['waiting'] ?? '–') ?></td>
				<td><?= $h($now === null ? '–' : $now['callbacks_waiting'] + $now['callbacks_calling']) ?></td>
				<td><?= $h($now['free'] ?? '–') ?></td>
			</tr>
<?php } ?>
		</tbody>
	</table>
<?php if ($state['problem'] === '') { ?>
	<h2><?= $h(_('Open callbacks')) ?></h2>
	<table class="table table-striped">
		<thead><tr>
			<th>#</th><th><?= $h(_('Queue')) ?></th><th><?= $h(_('Number')) ?></th><th><?= $h(_('Name')) ?></th>
			<th><?= $h(_('Status')) ?></th>
		</tr></thead>
		<tbody>
<?php foreach ($state['tasks'] as $task) { ?>
			<tr>
				<td><a href="<?= $h($settings['console'] . '/tasks/' . (int) $task['id']) ?>" target="_blank" rel="noopener"><?= (int) $task['id'] ?></a></td>
				<td><?= $h($task['queue']) ?></td><td><?= $h($task['number']) ?></td>
				<td><?= $h($task['name']) ?></td><td><?= $h($task['status']) ?></td>
			</tr>
<?php } ?>
		</tbody>
	</table>
<?php if ($state['blocked'] !== null) { ?>
	<h2><?= $h(_('Blocked numbers')) ?></h2>
	<table class="table table-striped">
		<thead><tr><th><?= $h(_('Number')) ?></th><th><?= $h(_('Reason')) ?></th></tr></thead>
		<tbody>
<?php foreach ($state['blocked'] as $blocked) { ?>
			<tr><td><?= $h($blocked['number']) ?></td><td><?= $h($blocked['reason']) ?></td></tr>
<?php } ?>
		</tbody>
	</table>
<?php } ?>
<?php } ?>
	<h2><?= $h(_('Settings')) ?></h2>
	<form class="fpbx-submit" name="callbackqueue" action="?display=callbackqueue" method="post">
		<input type="hidden" name="action" value="save">
<?php foreach ($fields as $name => [$label, $help]) { ?>
		<div class="element-container">
			<div class="row"><div class="form-group">
				<div class="col-md-3"><label class="control-label" for="<?= $h($name) ?>"><?= $h($label) ?></label>
					<i class="fa fa-question-circle fpbx-help-icon" data-for="<?= $h($name) ?>"></i></div>
				<div class="col-md-9">
<?php if ($name === 'when_down') { ?>
					<select class="form-control" id="when_down" name="when_down">
<?php foreach (['return', 'keep'] as $option) { ?>
						<option<?= $settings['when_down'] === $option ? ' selected' : '' ?>><?= $option ?></option>
<?php } ?>
					</select>
<?php } elseif ($name === 'token') { ?>
					<input type="password" autocomplete="off" class="form-control" id="token" name="token" value="" placeholder="<?= $h($hasToken ? _('(as stored)') : '') ?>">
<?php } else { ?>
					<input type="text" class="form-control" id="<?= $h($name) ?>" name="<?= $h($name) ?>" value="<?= $h($settings[$name]) ?>">
<?php } ?>
				</div>
			</div></div>
			<div class="row"><div class="col-md-12">
				<span id="<?= $h($name) ?>-help" class="help-block fpbx-help-block"><?= $h($help) ?></span>
			</div></div>
		</div>
<?php } ?>
	</form>
</div>
