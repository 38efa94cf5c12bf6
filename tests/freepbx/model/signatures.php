<?php
// SPDX-License-Identifier: MIT

/** Prints the functions and public methods of the models, one on each line. */

foreach (['framework', 'queues', 'core', 'backup'] as $name) {
	require __DIR__ . "/$name.php";
}

function parameters(ReflectionFunctionAbstract $of): string
{
	return implode(', ', array_map(function (ReflectionParameter $one) {
		$text = ($one->isPassedByReference() ? '&' : '') . '$' . $one->getName();
		if (!$one->isOptional()) {
			return $text;
		}
		$value = $one->getDefaultValue();
		return "$text = " . strtr(var_export($value, true), ['NULL' => 'null', "array (\n)" => '[]']);
	}, $of->getParameters()));
}

$ours = fn ($of) => $of->isUserDefined() && dirname((string) $of->getFileName()) === __DIR__;
foreach (get_defined_functions()['user'] as $name) {
	$function = new ReflectionFunction($name);
	if ($ours($function) && $name !== 'parameters') {
		echo "{$function->getName()}(" . parameters($function) . ")\n";
	}
}
foreach (array_merge(get_declared_classes(), get_declared_interfaces()) as $name) {
	$class = new ReflectionClass($name);
	if (!$ours($class) || in_array($name, ['World'], true)) {
		continue;
	}
	foreach ($class->getMethods(ReflectionMethod::IS_PUBLIC) as $method) {
		if ($method->getDeclaringClass()->getName() === $class->getName()) {
			echo "{$class->getName()}::{$method->getName()}(" . parameters($method) . ")\n";
		}
	}
}
